"""Error messages name the problem and the remedy, and exit statuses follow the class."""

from __future__ import annotations

import pickle

import pytest

from zoo.errors import DataError, Fault, Flaw, ImageError, InputError, UnknownNameError, WeightsError, ZooError, check_positive


def test_exit_statuses() -> None:
    assert ZooError("x").exit_status == 1
    for error in (InputError("x"), UnknownNameError("k", "n", []), DataError("x"), ImageError("a.png", "r"), WeightsError("x")):
        assert error.exit_status == 2
        assert isinstance(error, ValueError)


def test_an_unknown_name_lists_the_nearest_then_all_of_a_short_list() -> None:
    assert str(UnknownNameError("task", "detect", ["face", "detection"])) == (
        "unknown task 'detect'. Nearest: detection. Known: detection, face."
    )


def test_an_unknown_name_of_a_long_list_lists_only_the_nearest() -> None:
    message = str(UnknownNameError("trunk", "r7", [f"r{number}" for number in range(40)]))
    assert "Nearest: r7, " in message
    assert "Known" not in message


def test_an_unknown_name_with_a_remedy_and_without_any_known() -> None:
    assert str(UnknownNameError("trunk", "qqq", ["resnet"], "See: zoo list")) == "unknown trunk 'qqq'. See: zoo list"
    assert str(UnknownNameError("trunk", "qqq", [])) == "unknown trunk 'qqq'. No names are known."


def test_a_data_error_prints_twenty_faults_and_counts_the_rest() -> None:
    error = DataError("data x:", [Fault(f"f{number}", "bad") for number in range(23)], "Fix them.")
    lines = str(error).splitlines()
    assert lines[0] == "data x:"
    assert lines[1] == "  f0: bad"
    assert lines[20:] == ["  f19: bad", "  … and 3 more", "Fix them."]
    assert len(error.faults) == 23


def test_a_fault_in_json() -> None:
    fault = Fault("a.png", "cut short", whole=True, kind="truncated")
    assert fault.to_dict() == {"key": "a.png", "reason": "cut short", "kind": "truncated"}
    assert Fault("a.png", "is odd").to_dict()["kind"] == "annotation"


def test_a_flaw_becomes_a_fault_where_its_place_is_known() -> None:
    flaw = Flaw("has no area", "box-no-area", (1, 2, 1, 4))
    assert str(flaw) == "has no area"
    expected = Fault("a.txt line 3", "box 2: has no area", kind="box-no-area", place="line 3", box=(1, 2, 1, 4))
    assert flaw.at("a.txt line 3", "line 3", before="box 2: ") == expected
    assert Flaw("is odd").at("a", whole=True) == Fault("a", "is odd", whole=True, kind="annotation")


def test_an_image_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.png", "is empty", "truncated")))
    assert str(error) == "a.png: is empty"
    assert error.faults == (Fault("a.png", "is empty", whole=True, kind="truncated"),)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_check_positive(value: float) -> None:
    check_positive("recipe", lr=0.1)
    with pytest.raises(InputError, match=r"recipe: lr is .*; expected a number above 0"):
        check_positive("recipe", lr=value)
