"""Model cards: metadata that the Hub accepts, and what the text states."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub.repocard_data import model_index_to_eval_results

import zoo
from tests.engines import fake, small_model
from tests.unit.report.cards import faults, made, metadata_of, trained
from zoo.cli.main import main
from zoo.errors import InputError
from zoo.report.card import card_text
from zoo.report.card_results import published_command, published_data
from zoo.report.card_sections import Latency

__all__ = ["fake"]  # a fixture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def classifier(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with the training summary of a run; tests must not change it."""
    return trained(tmp_path_factory.mktemp("card") / "pets")


@pytest.fixture(scope="module")
def scores(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Scores of the model in the format of `zoo eval --json`."""
    found = zoo.evaluate(zoo.load(classifier), [{"image": np.zeros((32, 32, 3), np.uint8), "target": 0, "key": "a"}], replicates=0)
    return {
        **found.to_dict(), "scores": {"top1": 0.8125, "auc": None}, "intervals": {"top1": [0.75, 0.9]}, "n": 96, "expected": 100,
        "data": "folder:/home/ann/photos?split=test&limit=100", "command": f"zoo eval {Path.home()}/runs/pets --data x",
    }  # fmt: skip


def written(folder: Path, content: Any) -> Path:
    """Write a file of scores."""
    path = folder / "scores.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


KINDS = {
    "classification": ("image-classification", "Classifies an image into one of 3 classes."),
    "multi-label": ("image-classification", "Predicts for each of 3 classes whether it occurs in an image."),
    "detection": ("object-detection", "Detects objects of 2 classes: the box, the class and the score of each."),
    "attributes": ("object-detection", "Attributes of each object: colour (dark, light)."),
    "face": ("image-feature-extraction", "Computes an embedding of 8 numbers for a face. Two faces are compared by their cosine distance."),
    "joint": ("image-classification", "- head `parts`: Detects objects of 1 class"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_has_a_card_that_the_hub_accepts(kind: str, tmp_path: Path) -> None:
    text = card_text(zoo.save(made(kind), tmp_path / "m"), licence="MIT")
    content = metadata_of(text)
    assert faults(text) == []
    assert (content["pipeline_tag"], content["license"], content["library_name"]) == (KINDS[kind][0], "mit", "resnet-zoo")
    assert ("timm" in content["tags"]) == (kind in ("classification", "multi-label")), "timm can load only these"
    assert "model-index" not in content
    assert KINDS[kind][1] in text
    assert "- No training is recorded; the parameters may be random." in text
    assert "No scores on test data are recorded." in text
    assert ("object-detection" in content["tags"]) == (kind == "joint")
    sizes = {
        "face": "before, faces are aligned to the template arcface",
        "joint": "- `kind`, `parts`: Size: the shorter side is scaled",
    }
    assert sizes.get(kind, "") in text


@pytest.mark.usefixtures("fake")
def test_an_exported_model_names_its_engine(tmp_path: Path) -> None:
    fast = zoo.compile(small_model("classification"), "fake", precision="fp32")
    text = card_text(zoo.save(fast, tmp_path / "fast"), licence="MIT")
    assert faults(text) == []
    assert "timm" not in metadata_of(text)["tags"]
    assert "- Exported for the engine fake in fp32." in text


def test_the_card_states_data_scores_and_limits(classifier: Path, scores: dict[str, Any], tmp_path: Path) -> None:
    text = card_text(classifier, licence="Apache-2.0", data_licence="CC-BY-4.0", scores=[written(tmp_path, scores)])
    assert faults(text) == []
    (index,) = metadata_of(text)["model-index"]
    name, results = model_index_to_eval_results([index])
    assert (name, [(each.metric_type, each.metric_name, each.metric_value) for each in results]) == ("pets", [("accuracy", "top1", 0.8125)])
    assert (results[0].dataset_name, results[0].dataset_type, results[0].dataset_split) == ("photos", "folder", "test")
    assert (results[0].dataset_args, results[0].dataset_revision) == ({"limit": 100}, scores["fingerprints"]["data"])
    for line in (
        "| training | `folder:photos?split=train` | 120 | `0123456789abcdef` |",
        "| validation | `folder:photos` | 30 | `fedcba9876543210` |",
        f"| scored | `folder:photos?split=test&limit=100` | 96 | `{scores['fingerprints']['data']}` |",
        "| top1 | 0.8125 | 0.7500 – 0.9000 |",
        "96 images of 100; the others were skipped; precision fp32. Printed by:",
        "$ zoo eval ~/runs/pets --data x",
        "| top1 | 0.7500 |",
        "- It was trained on 120 images; accuracy on images unlike these is unknown.",
        "- Model: apache-2.0",
        "- Training data: CC-BY-4.0",
    ):
        assert f"\n{line}\n" in text
    assert "/home/ann" not in text
    assert "auc" not in text, "undefined scores are left out"
    assert text.endswith("-->\n")


def test_thresholds_and_their_data_are_stated(classifier: Path, tmp_path: Path) -> None:
    point = {"target": "f1", "data": "folder:/home/ann/val", "n": 30, "fingerprint": "abc"}
    model = made("multi-label")
    model.metadata |= {"thresholds": {"cat": 0.25, "dog": 0.5, "eel": 0.125}, "operating_point": point}
    text = card_text(zoo.save(model, tmp_path / "tuned"))
    assert "| `cat` | 0.25 |\n| `dog` | 0.5 |\n| `eel` | 0.125 |" in text
    assert "Chosen by `zoo tune` for `f1` on `folder:val` (30 images, fingerprint `abc`)." in text
    face = made("face")
    face.metadata["threshold"] = 0.375
    assert "| `cosine distance` | 0.375 |" in card_text(zoo.save(face, tmp_path / "face"))
    assert "## Thresholds" not in card_text(classifier)


def test_the_speed_is_stated_with_the_machine(classifier: Path, tmp_path: Path) -> None:
    speed = Latency("Fast CPU", 2, "eager", "fp32", "demo:digits", 1.25, 2.0, 100, 16, 1000.4, "2.14")
    text = card_text(classifier, latency=speed)
    assert "Measured with eager in fp32 on Fast CPU, 2 threads,\nPyTorch 2.14, images of `demo:digits`" in text
    assert "- one image: median 1.2 ms, 95th percentile 2.0 ms, 100 calls\n- batches of 16: 1000 images per second" in text
    assert "## Speed\n\nNot recorded." in card_text(classifier)
    assert "that were decoded in advance:" in card_text(zoo.save(made("joint"), tmp_path / "joint"), latency=speed), "two passes"


def test_names_have_no_meaning_in_markdown_or_yaml(tmp_path: Path) -> None:
    names = ["a|b", "`c`", "<script>", "x\n---\nlicense: mit", "ü"]
    model = zoo.build("test_resnet", classes=names, image_size=32, multi_label=True)
    model.metadata["thresholds"] = dict.fromkeys(names, 0.5)
    text = card_text(zoo.save(model, tmp_path / "m"), name="a: [b] *c*\n# d")
    assert faults(text) == []
    assert "license" not in metadata_of(text)
    assert "# a: \\[b\\] \\*c\\* \\# d\n" in text
    assert "`a|b`, `` `c` ``, `<script>`, `x --- license: mit`, `ü`" in text
    assert "| `a\\|b` | 0.5 |" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own["fingerprints"].update(model="0" * 16), "scores of another model, or with other options"),
        (lambda own: own["fingerprints"].pop("model"), "scores of a file of predictions or of several models"),
        (lambda own: own.pop("fingerprints"), "not the scores of a model (KeyError: 'fingerprints')"),
        (lambda own: own.update(scores=[1]), "not the scores of a model (AttributeError"),
    ],
)
def test_scores_of_something_else_are_refused(change: Any, message: str, classifier: Path, scores: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads(json.dumps(scores))
    change(content)
    with pytest.raises(InputError, match=re.escape(message)):
        card_text(classifier, scores=[written(tmp_path, content)])


def test_files_that_are_no_scores_are_refused(classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--scores .*none\.json can't be read: No such file"):
        card_text(classifier, scores=[tmp_path / "none.json"])
    (tmp_path / "text.json").write_text("top1 0.9")
    with pytest.raises(InputError, match=r"text\.json is not a JSON file .*; pass the output of: zoo eval MODEL --data DATA --json"):
        card_text(classifier, scores=[tmp_path / "text.json"])
    joint = zoo.save(made("joint"), tmp_path / "joint")
    with pytest.raises(InputError, match=r"the model has no head 'scores'; expected the scores of: kind, parts, who"):
        card_text(joint, scores=[written(tmp_path, {"scores": {}})])


def test_scores_of_the_command_line_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joint = zoo.save(
        zoo.build("test_resnet", {"a": "classification", "b": "face"}, classes={"a": list("0123456789")}, image_size=32), tmp_path / "j"
    )
    words = ["eval", str(joint), "--data", "a=demo:digits?split=test&limit=10", "--replicates", "20", "--json"]
    assert main(words) == 0
    path = tmp_path / "scores.json"
    path.write_text(capsys.readouterr().out)
    text = card_text(str(joint), scores=str(path))
    found = zoo.evaluate(zoo.load(joint), {"a": "demo:digits?split=test&limit=10"}, replicates=20)
    assert card_text(joint, scores=found).partition("## Scores")[0] == text.partition("## Scores")[0], "but for the command"
    assert faults(text) == []
    (result,) = metadata_of(text)["model-index"][0]["results"]
    assert (result["metrics"][0]["name"], result["dataset"]["name"]) == ("a top1", "digits")
    assert "On `demo:digits?split=test&limit=10`, head `a`:" in text
    assert "--data 'a=demo:digits?split=test&limit=10' --replicates 20 --json\n" in text


def test_what_is_published_names_no_folders_of_the_machine() -> None:
    assert published_data("coco:C:\\data\\cells\\?split=test") == "coco:cells?split=test"
    assert published_data("/data/photos") == "photos"
    assert published_data("coco:a.json?split=x/y&images=/home/ann/jpg") == "coco:a.json?split=x/y&images=jpg"
    assert published_data("hf:ann/pets?split=test") == "hf:ann/pets?split=test"
    assert published_data("folder:x?limit=none") == "folder:x?limit=none"
    assert published_command(f"zoo eval {Path.home()} {Path.home()}x") == f"zoo eval ~ {Path.home()}x"
