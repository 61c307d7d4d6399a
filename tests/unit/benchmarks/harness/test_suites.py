"""Suites: reading, and errors found before anything runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmark_reports import CASE, write_suite
from zoo.benchmarks.harness import bench as harness
from zoo.benchmarks.harness import case as case_process
from zoo.benchmarks.harness.bench import bench
from zoo.benchmarks.harness.report import CaseReport
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.harness.suite_file import list_suites, read_suite
from zoo.cli.main import main
from zoo.engines import ENGINES
from zoo.errors import InputError, UnknownNameError
from zoo.system.disk import StorageError


def test_the_quick_suite_covers_the_three_tasks() -> None:
    suite = read_suite("quick")
    assert [(case.name, case.task) for case in suite.cases] == [("digits", "classification"), ("scenes", "detection"), ("faces", "face")]
    assert suite.cases[0].expect == {"top1": 0.97}
    assert suite.cases[1].expect == {"AP50": 0.80}


@pytest.mark.parametrize("name", list_suites())
def test_the_settings_of_the_shipped_suites_are_valid(name: str) -> None:
    for case in read_suite(name).cases:
        case_process.check_case(case if ENGINES[case.engine].missing() is None else replace(case, engine="eager"))


def test_a_suite_is_read_from_a_file(tmp_path: Path) -> None:
    path = write_suite(tmp_path, 'description = "mine"\n' + CASE + 'train = "demo:digits"\nrecipe = { steps = 5 }\nexpect = { top1 = 1 }\n')
    suite = read_suite(str(path))
    assert (suite.name, suite.description) == ("own", "mine")
    assert suite.cases == (
        Case("a", "classification", "resnet20", "demo:digits", train="demo:digits", recipe={"steps": 5}, expect={"top1": 1}),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CASE + 'backbon = "x"', r"unknown key in suite .*own\.toml, line 6: case 1 \(a\): 'backbon'\. Nearest: backbone"),
        ("cases = 1\n" + CASE, r"unknown key in the suite .*own\.toml, line 1: 'cases'\. Nearest: case"),
        ('[[case]]\nname = "a"', r"case 1 \(a\): task, backbone, test are missing"),
        ('[[case]]\nname = "a"\ntask = "face"\nbackbone = "b"', r"case 1 \(a\): test is missing"),
        (CASE + "weights = 3", r"own\.toml, line 6: case 1 \(a\): weights is 3; expected a string"),
        (
            CASE.replace('"classification"', '{ a = "classification" }'),
            r"test is '.*'; expected a table with .* each of the heads a",
        ),
        (CASE.replace('"classification"', "{ a = 3 }"), r"task is \{'a': 3\}; expected a string for each head"),
        (
            CASE.replace('test = "demo:digits"', 'test = { a = "demo:digits" }'),
            r"test is \{.*\}; expected a string, like task",
        ),
        ('[[case]]\nname = ""', r"case 1 \(\): name is ''; expected a string"),
        (CASE + "batch_size = 0", r"case 1 \(a\): batch_size is 0; expected a whole number above 0"),
        (CASE + "batch_size = true", r"batch_size is True; expected a whole number above 0"),
        (CASE + 'scenarios = "offline"', r"scenarios is 'offline'; expected a list of strings"),
        (CASE + "server_bound_ms = 0", r"server_bound_ms is 0; expected a number above 0"),
        (CASE + 'options = "image_size=3"', r"options is 'image_size=3'; expected a table"),
        (CASE + 'expect = { top1 = "high" }', r"line 6: case 1 \(a\): expect\.top1 is 'high'; expected a number, or \{ value"),
        (CASE + "[case.expect]\ntop1 = { tolerance = 1 }", r"line 6: .*expect\.top1 is .*; expected a number, or \{ value"),
        (
            CASE + "expect = { top1 = { value = 1, tolerances = 1 } }",
            r"unknown key in expect\.top1 of suite .*'tolerances'\. Nearest: tolerance",
        ),
        (CASE + "expect = { top1 = { value = 1, tolerance = -1 } }", r"expect\.top1\.tolerance is -1; expected a number, at least 0"),
        (CASE + "matrix = 3", r"line 6: case 1 \(a\): matrix is 3; expected a table with a list of values"),
        (CASE + 'matrix = { engines = ["eager"] }', r"unknown key in the matrix of suite .*, line 6: .*'engines'\. Nearest: engine"),
        (CASE + "matrix = { engine = [] }", r"matrix\.engine is \[\]; expected a list of values"),
        (CASE + 'matrix = { engine = "eager" }', r"matrix\.engine is 'eager'; expected a list of values"),
        (CASE + 'matrix = { backbone = ["resnet32"] }', r"line 4: .*backbone is set, and also varied by the matrix; remove one of them"),
        (CASE + "matrix = { batch_size = [8, 0] }", r"case 1 \(a/0\): batch_size is 0"),
        (CASE + "matrix = { batch_size = [8, 8] }", r"several cases are named a/8; names must be unique"),
        ('case = [ { name = "a", test = 3 } ]', r"own\.toml: case 1 \(a\): test is 3; expected a string"),
        (CASE + "seed = -1", r"seed is -1; expected a whole number, at least 0"),
        (CASE + 'timeout = "soon"', r"case 1 \(a\): timeout is 'soon'; expected a duration above 0"),
        (CASE + "timeout = [3]", r"timeout is \[3\]; expected a duration"),
        ("memory_mib = 0\n" + CASE, r"own\.toml, line 1: memory_mib is 0; expected a number of MiB above 0"),
        (CASE + "recipe = { steps = 3 }", r"case 1 \(a\): recipe is set but train is missing"),
        (CASE + CASE, r"several cases are named a; names must be unique"),
        ("description = 3\n" + CASE, r"description is 3; expected a string"),
        ('description = "nothing"', r"own\.toml: expected at least one \[\[case\]\] table"),
        ("case = 3", r"expected at least one \[\[case\]\] table"),
        ("name = = 3", r"own\.toml: the file is not valid TOML .*line 1"),
    ],
)
def test_a_faulty_suite_is_named_with_its_case_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_suite(write_suite(tmp_path, text))


def test_a_suite_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown suite 'quik'\. Nearest: quick\. Known: .*quick.*; or pass a \.toml file"):
        read_suite("quik")
    with pytest.raises(InputError, match=r"absent\.toml can't be read \(No such file"):
        read_suite(str(tmp_path / "absent.toml"))


def test_cases_are_picked_in_the_order_of_the_file() -> None:
    suite = read_suite("quick")
    assert [case.name for case in suite.pick(["faces", "digits"]).cases] == ["digits", "faces"]
    assert suite.pick(None) == suite
    with pytest.raises(UnknownNameError, match=r"unknown case of the suite quick: 'digit'\. Nearest: digits"):
        suite.pick(["digit"])
    with pytest.raises(InputError, match="no cases given; choose from: digits, scenes, faces"):
        suite.pick([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            CASE.replace("classification", "clasification"),
            r"line 3: case a: unknown task 'clasification'\. Nearest: classification",
        ),
        (CASE.replace("resnet20", "resnet19"), r"own\.toml, line 4: case a: unknown backbone 'resnet19'"),
        (CASE + "options = { colour = 1 }", r"case a: unknown option of the task classification: 'colour'"),
        (
            CASE + 'train = "demo:digits"\nrecipe = { step = 3 }',
            r"unknown recipe setting of the task classification: 'step'\. Nearest: steps",
        ),
        (CASE + 'engine = "opnvino"', r"case a: unknown engine 'opnvino'\. Nearest: openvino"),
        (CASE + 'scenarios = ["offlin"]', r"case a: unknown scenario 'offlin'\. Nearest: offline"),
        (CASE + 'scenarios = ["server"]', r"case a: server_bound_ms, .* belongs to the scenario server"),
        (CASE + "expect = { top_1 = 1 }", r"line 6: case a: unknown score or figure in expect: 'top_1'\. Nearest: top1"),
        (CASE + "expect = { train_seconds = 9 }", r"unknown score or figure in expect: 'train_seconds'"),
        (
            CASE.replace('"classification"', '{ x = "face" }').replace('"demo:digits"', '{ x = "demo:faces" }')
            + 'expect = { "x/top1" = 1 }',
            r"unknown score or figure in expect: 'x/top1'",
        ),
        (CASE + 'precision = "int4"', r"case a: unknown precision 'int4'\. .*int8"),
        (CASE + 'train = "demo:digits"\nrecipe = { lr = 0 }', r"case a: the task classification: lr is 0; expected a number above 0"),
    ],
)
def test_what_a_case_asks_for_is_checked_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr(harness, "run_in_child", lambda case: pytest.fail("a case was run"))
    with pytest.raises(InputError, match=message):
        bench(write_suite(tmp_path, text), out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_not_installed_is_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINES["openvino"], "package", "no_such_package")
    with pytest.raises(InputError, match="case a: the engine openvino needs the package no_such_package"):
        bench(write_suite(tmp_path, CASE), out=tmp_path / "out", engine="openvino", quiet=True)


def test_the_engine_of_a_suite_can_be_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[tuple[str, str]] = []

    def child(case: Case) -> CaseReport:
        run.append((case.engine, case.precision))
        engine = f"{case.engine}, {case.precision}"
        return CaseReport(case.name, "classification", case.backbone, "demo:digits", engine, 1.0, error="not run")

    monkeypatch.setattr(harness, "run_in_child", child)
    path = write_suite(tmp_path, CASE + 'engine = "inductor"')
    bench(path, out=tmp_path / "out", quiet=True)
    bench(path, out=tmp_path / "out", engine="eager", precision="bf16", quiet=True)
    assert run == [("inductor", "auto"), ("eager", "bf16")]


def test_a_matrix_is_a_case_for_each_combination(tmp_path: Path) -> None:
    text = CASE.replace('backbone = "resnet20"', 'train = "demo:digits"\nrecipe = { steps = 5 }')
    text += 'matrix = { backbone = ["resnet20", "resnet32"], "recipe.lr" = [0.1], seed = [3, 4] }\n' + CASE.replace('"a"', '"b"')
    suite = read_suite(write_suite(tmp_path, text))
    names = [f"a/{backbone}/lr=0.1@{seed}" for backbone in ("resnet20", "resnet32") for seed in (3, 4)]
    assert [case.name for case in suite.cases] == [*names, "b"]
    assert (suite.cases[2].backbone, suite.cases[2].seed, suite.cases[2].recipe) == ("resnet32", 3, {"steps": 5, "lr": 0.1})
    assert suite.place(names[0], "backbone").endswith("own.toml, line 1: case a/resnet20/lr=0.1@3")
    assert suite.place("b", "test").endswith("own.toml, line 12: case b")


def test_an_engine_for_all_cases_is_not_looked_for_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^case a: unknown engine 'opnvino'"):
        bench(write_suite(tmp_path, CASE), out=tmp_path / "out", engine="opnvino", quiet=True)


def test_limits_of_a_suite_and_of_a_case(tmp_path: Path) -> None:
    text = "timeout = 60\nmemory_mib = 4096\n" + CASE + CASE.replace('"a"', '"b"') + 'timeout = "2m"\n'
    assert [(case.timeout, case.memory_mib) for case in read_suite(write_suite(tmp_path, text)).cases] == [(60, 4096), (120, 4096)]


def test_cases_are_selected_by_patterns() -> None:
    suite = read_suite("quick")
    assert [case.name for case in suite.matching(["s*", "*git?"]).cases] == ["digits", "scenes"]
    assert suite.matching([]) == suite
    with pytest.raises(UnknownNameError, match=r"unknown case of the suite quick: 'digit'\. Nearest: digits"):
        suite.matching(["faces", "digit"])


def test_each_case_runs_with_several_seeds() -> None:
    suite = read_suite("quick").pick(["digits", "faces"])
    seeded = suite.with_seeds(2)
    assert [(case.name, case.seed) for case in seeded.cases] == [("digits@0", 0), ("faces@0", 0), ("digits@1", 1), ("faces@1", 1)]
    assert [case.name for case in seeded.matching(["digits", "faces@1"]).cases] == ["digits@0", "digits@1", "faces@1"]
    assert seeded.place("faces@1", "backbone") == suite.place("faces", "backbone").replace("faces", "faces@1")
    first = replace(suite.cases[0], recipe={"seed": 5})
    assert [case.seed for case in replace(suite, cases=(first,)).with_seeds(2).cases] == [5, 6]
    assert [case_process.make_recipe(case).seed for case in seeded.cases] == [0, 0, 1, 1]
    with pytest.raises(InputError, match="seeds is 0; expected a whole number above 0"):
        suite.with_seeds(0)


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list"]) == 0
    assert "quick: 3 cases. The three tasks" in capsys.readouterr().out
    assert main(["bench", "quick", "--list", "--only", "sc*", "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suites"][0]["cases"] == ["scenes@0", "scenes@1"]


def test_a_report_cannot_go_into_a_file(tmp_path: Path) -> None:
    path = write_suite(tmp_path, CASE)
    with pytest.raises(InputError, match=r"out: .*own\.toml is a file; expected a folder"):
        bench(path, out=path, quiet=True)
    with pytest.raises(StorageError, match=r"own\.toml/out/cases: can't be written \(Not a directory\); .* choose another folder"):
        bench(path, out=path / "out", quiet=True)
