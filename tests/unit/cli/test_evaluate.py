"""`zoo eval` beyond plain scores, and `zoo compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from tests.pictures import COLOURS, write_class_folders
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.evaluation.comparison import compare
from zoo.task.metric import Scores

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[str, str]:
    """A dataset string of image folders, and the folder of a small model."""
    write_class_folders(tmp_path / "data", per_class=4)
    torch.manual_seed(0)
    zoo.save(zoo.build("resnet20", classes=sorted(COLOURS), image_size=16), tmp_path / "model")
    return f"folder:{tmp_path / 'data'}", str(tmp_path / "model")


def test_results_say_what_they_rest_on(saved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    data, model = saved
    results = []
    for replicates in ("200", "0"):
        assert main(["eval", model, "--data", data, "--json", "--quiet", "--replicates", replicates]) == 0
        results.append(json.loads(capsys.readouterr().out))
    low, high = results[0]["intervals"]["top1"]
    assert low <= results[0]["scores"]["top1"] <= high
    assert results[1]["intervals"] == {}
    assert set(results[0]["fingerprints"]) == {"data", "model"}
    assert results[0]["fingerprints"] == results[1]["fingerprints"]
    assert torch.__version__.startswith(results[0]["versions"]["torch"])
    Path(data.removeprefix("folder:"), "red", "new.png").write_bytes(next(Path(data.removeprefix("folder:"), "red").iterdir()).read_bytes())
    assert main(["eval", model, "--data", data, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprints"]["data"] != results[0]["fingerprints"]["data"]


def test_a_model_beside_itself_is_not_distinguishable(saved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    data, model = saved
    assert main(["compare", model, f"{model},{model}", "--data", data, "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["runs"] == [1, 2]
    assert result["differences"]["top1"]["interval"] == [0.0, 0.0]
    assert result["differences"]["top1"]["distinguishable"] is False
    assert main(["compare", model, model, "--data", data]) == 0
    assert "│ no " in capsys.readouterr().out
    assert main(["compare", model, "no/where", "--data", data]) == 2
    assert "no/where does not exist" in capsys.readouterr().err


def result(values: list[float], keys: tuple[str, ...] = ("a", "b"), data: str = "d") -> Scores:
    return Scores(
        {"top1": float(np.mean(values))}, 2, 2, sample_keys=keys, fingerprints={"data": data}, replicates={"top1": np.array(values)}
    )


def test_the_difference_is_paired() -> None:
    """Both scores vary much more than they differ; paired, the difference is significant."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0.5, 0.2, 1_000)
    found = compare([result(list(luck))], [result(list(luck + 0.01 + rng.normal(0, 0.001, 1_000)))]).differences["top1"]
    assert found.distinguishable
    assert found.interval is not None
    assert list(found.interval) == pytest.approx([0.008, 0.012], abs=5e-4)


def test_several_runs_carry_the_luck_of_training() -> None:
    steady = [0.5] * 1_000
    runs = [result([value] * 1_000) for value in (0.4, 0.5, 0.6, 0.7)]
    found = compare([result(steady)], runs).differences["top1"]
    assert found.difference == pytest.approx(0.05)
    assert found.distinguishable is False


def test_only_the_same_samples_are_compared() -> None:
    with pytest.raises(InputError, match=r"1 were scored on one side only \(b\)"):
        compare([result([0.5])], [result([0.5], ("a",))])
    with pytest.raises(InputError, match="scored on different data"):
        compare([result([0.5])], [result([0.5], data="other")])
    with pytest.raises(InputError, match="each side needs at least one evaluation result"):
        compare([], [result([0.5])])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corruptions", "--attack", "fgsm"], "--corruptions and --attack can't be combined; pass only one of them"),
        (["--attack", "fgsm", "--eps", "a lot"], "--eps is 'a lot'; expected a number or fraction, such as 0.03 or 8/255"),
        (["--corruptions", "--save-predictions", "a.csv"], "they can't be combined with --predictions or --save-predictions"),
        (["--replicates", "-1"], "expected 0 or more"),
        (["--predictions", "a.csv"], "a model and --predictions can't be combined"),
    ],
)
def test_mistakes_are_named(saved: tuple[str, str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = saved
    assert main(["eval", model, "--data", data, "--quiet", *words]) == 2
    assert said in capsys.readouterr().err


def test_under_attack(saved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("captum")
    data, model = saved
    assert main(["eval", model, "--data", data, "--quiet", "--attack", "fgsm", "--eps", "0.05", "--json", "--replicates", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["robust"]["scores"]["top1"] <= found["clean"]["scores"]["top1"]
    assert main(["eval", model, "--data", data, "--quiet", "--attack", "fgsm", "--replicates", "20"]) == 0
    shown = capsys.readouterr().out
    assert "fgsm, perturbations of up to 8/255" in shown
    assert shown.index("top1") < shown.index("top5")  # the primary score comes first


def test_saved_predictions_score_as_the_model_did(saved: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = saved
    file = tmp_path / "answers.csv"
    assert main(["eval", model, "--data", data, "--json", "--quiet", "--save-predictions", str(file)]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["eval", "--predictions", str(file), "--data", data, "--json", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["scores"], again["intervals"], again["n"]) == (first["scores"], first["intervals"], 12)
    lines = file.read_text().splitlines()
    for wrong, said in {
        "\n".join(lines[:-1]): "no prediction for 'red/3.png'",
        "\n".join([*lines, lines[1]]): "line 14",
        "\n".join([*lines[:3], lines[3].replace("red", "green", 1) if "red" in lines[3] else "x/y.png,1,2,3", *lines[4:]]): "line 4",
        "\n".join([*lines[:5], f"{lines[5].split(',')[0]},nan,1,2", *lines[6:]]): "line 6",
    }.items():
        file.write_text(wrong + "\n")
        assert main(["eval", "--predictions", str(file), "--data", data, "--quiet"]) == 2
        assert said in (printed := capsys.readouterr().err), printed
    assert main(["eval", "--task", "face", "--predictions", str(file), "--data", "demo:faces", "--quiet"]) == 2
    assert "expected the columns key and e0, e1" in capsys.readouterr().err


def test_a_file_for_answers_is_refused_before_anything_is_evaluated(saved: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    data, model = saved
    assert main(["eval", model, "--data", data, "--save-predictions", "answers.xls"]) == 2
    assert "answers.xls: unsupported suffix '.xls' for the predictions of the task classification; expected .csv" in capsys.readouterr().err
