"""Embedding files: bit-identical round trips, the same scores as the model, and faults with their location."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.cli.main import main
from zoo.data.dataset import Record
from zoo.errors import DataError, InputError
from zoo.evaluation.evaluate import evaluate_predictions
from zoo.tasks.face.prediction.files import SUFFIXES, read, write
from zoo.tasks.face.verification.pairs import Pair, PairedDataset

KEYS = ("ann/1.jpg", "ann/2.jpg", "bob/Ä,\t“1”.jpg", "bob/2.jpg")


def rows(count: int = 4, length: int = 5, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def four(tmp_path: Path, **changed: Any) -> Path:
    return saved(tmp_path / "e.npz", **{"keys": np.array(KEYS), "embeddings": rows(), **changed})


# -- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back_to_the_last_bit(suffix: str, tmp_path: Path) -> None:
    embeddings: dict[str, Any] = dict(zip(KEYS, rows(), strict=True))
    embeddings[KEYS[0]] = np.array([1e-45, -0.0, 3.4028235e38, 0.1, 1 / 3], np.float32)  # the smallest, the largest
    embeddings[KEYS[3]] = None  # no face was found
    write(tmp_path / f"e{suffix}", embeddings)
    again = read(tmp_path / f"e{suffix}", KEYS[::-1])
    assert again.keys() == embeddings.keys()
    for key, row in embeddings.items():
        assert (again[key] is None) == (row is None)
        if row is not None:
            assert again[key].dtype == np.float32  # type: ignore[union-attr]
            assert again[key].tobytes() == row.tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_others_wrote(suffix: str, tmp_path: Path) -> None:
    """Float64 and integers, extra columns and another column order, Windows line endings."""
    file = tmp_path / f"E{suffix.upper()}"
    numbers = np.array([[1, 2], [3, 4]])
    if suffix == ".npz":
        with file.open("wb") as opened:
            np.savez_compressed(opened, other=np.ones(3), embeddings=numbers, keys=np.array(["b", "a"]))
    elif suffix == ".jsonl":
        file.write_bytes(b'\xef\xbb\xbf{"embedding": [1, 2.0], "key": "b", "n": 1}\r\n\r\n{"key": "a", "embedding": [3, 4]}')
    elif suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"e1": [2, 4], "who": ["x", "y"], "e0": [1.0, 3.0], "key": ["b", "a"]}), file)
    else:
        text = "e1,who,e0,key\r\n2,x,1,b\r\n4,y,3.0,a\r\n"
        file.write_text(text.replace(",", "\t") if suffix == ".tsv" else text)
    found = read(file, ("a", "b"))
    assert {key: row.tolist() for key, row in found.items() if row is not None} == {"b": [1, 2], "a": [3, 4]}


def test_the_command_scores_the_file_as_it_scored_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data", "demo:faces?limit=80", "--json", "--quiet", "--replicates", "20"]
    file = tmp_path / "e.npz"
    assert main(["eval", "--task", "face", "--backbone", "resnet20", "--image-size", "32", "--save-predictions", str(file), *common]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["eval", "--task", "face", "--predictions", str(file), *common]) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("scores", "intervals", "n", "expected", "skipped", "details"):
        assert again[name] == first[name]
    assert set(again["fingerprints"]) == {"data", "predictions"}
    assert main(["compare", str(file), str(file), "--task", "face", *common]) == 0
    difference = json.loads(capsys.readouterr().out)["differences"]["auc"]
    assert (difference["difference"], difference["distinguishable"]) == (0.0, False)


# -- faces that were not found -----------------------------------------------------------------------------------------


def paired() -> PairedDataset:
    """Return four folds with one genuine and one impostor pair each; identities are known."""
    image = np.zeros((4, 4, 3), np.uint8)
    names = [f"{fold}{person}{number}" for fold in range(4) for person in "ab" for number in "12"]
    records = tuple(Record(name, image, index // 2) for index, name in enumerate(names))
    pairs = [pair for f in range(4) for pair in (Pair(f"{f}a1", f"{f}a2", True, f), Pair(f"{f}b1", f"{f}a2", False, f))]
    return PairedDataset("made", records, tuple(f"p{index}" for index in range(8)), pairs=tuple(pairs))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_face_that_was_not_found_is_counted_and_costs_its_pairs(suffix: str, tmp_path: Path) -> None:
    """Hazard 9. Every scored pair is right, so `accuracy_all` is lowered by the missing pairs only."""
    data = paired()
    embeddings: dict[str, Any] = {key: np.eye(8, dtype=np.float32)[index // 2] for index, key in enumerate(data.keys)}
    embeddings["1a2"] = None  # in both pairs of its fold
    embeddings["3a1"] = None
    write(tmp_path / f"e{suffix}", embeddings)
    scores = evaluate_predictions(tmp_path / f"e{suffix}", "face", data, replicates=0)
    assert (scores.n, scores.expected) == (14, 16)
    assert [fault.key for fault in scores.skipped] == ["1a2", "3a1"]
    assert "marked as having no prediction in " in scores.skipped[0].reason
    assert scores.details["pairs"] == {"genuine": 2, "impostor": 3, "missing": 3}
    assert scores["accuracy"] == 1.0
    assert scores["accuracy_all"] == pytest.approx(5 / 8)  # the fold without a scored pair counts, too


def test_only_what_the_file_says_is_not_found_may_be_missing(tmp_path: Path) -> None:
    three = {"keys": np.array(KEYS[:3]), "embeddings": rows(3)}
    assert read(four(tmp_path, **three, not_found=np.array(KEYS[3:])), KEYS)[KEYS[3]] is None
    with pytest.raises(DataError, match=r"e\.npz: no prediction for 'bob/2.jpg'\nEach image needs exactly one prediction"):
        read(four(tmp_path, **three), KEYS)
    with pytest.raises(DataError, match=r"e\.npz not_found 1: duplicate prediction for 'ann/1.jpg'; the first one is at .* row 1"):
        read(four(tmp_path, not_found=np.array(KEYS[:1])), KEYS)
    with pytest.raises(DataError, match=r"e\.npz not_found 1: the dataset has no image 'eve.jpg'"):
        read(four(tmp_path, not_found=np.array(["eve.jpg"])), KEYS)


def test_no_face_at_all(tmp_path: Path) -> None:
    data = paired()
    (tmp_path / "e.jsonl").write_text("".join(json.dumps({"key": key, "embedding": None}) + "\n" for key in data.keys))
    with pytest.raises(DataError, match=r"e\.jsonl has no prediction for the 16 images of dataset 'made'"):
        evaluate_predictions(tmp_path / "e.jsonl", "face", data)


# -- faults ------------------------------------------------------------------------------------------------------------

NAN, ZERO, LARGE = rows(), rows().astype(np.float64), rows().astype(np.float64)
NAN[1, 2], ZERO[2], LARGE[3, 0] = np.nan, 0, 1e39


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"embeddings": NAN}, r"e\.npz row 2: its embedding is not finite"),
        ({"embeddings": LARGE}, r"e\.npz row 4: its embedding is not finite"),
        ({"embeddings": ZERO}, r"e\.npz row 3: all 5 values in its embedding are 0"),
        ({"embeddings": rows(4, 0)}, r"row 1: its embedding has the shape \[0\]; expected \[D\]"),
        ({"embeddings": rows(3)}, "has 4 keys and 3 embeddings; expected one key per embedding"),
        ({"embeddings": rows()[0]}, r"embeddings has type float32 and shape \[5\]; expected numbers \[N, D\]"),
        ({"embeddings": rows().astype(str)}, r"embeddings has type <U\d+ and shape \[4, 5\]; expected numbers"),
        ({"embeddings": rows() > 0}, r"embeddings has type bool and shape \[4, 5\]; expected numbers"),
        ({"keys": np.arange(4)}, r"keys has type int64 and shape \[4\]; expected a string array"),
        ({"keys": np.array([KEYS])}, r"keys has type <U\d+ and shape \[1, 4\]; expected a string array"),
        ({"not_found": np.arange(2)}, r"not_found has type int64 and shape \[2\]; expected a string array"),
        ({"keys": np.array(KEYS, object)}, "contains a pickle: Object arrays cannot be loaded"),
        ({"keys": np.array([*KEYS[:3], KEYS[0]])}, r"row 4: duplicate prediction for 'ann/1.jpg'; the first one is at .* row 1"),
        ({"keys": np.array([*KEYS[:3], "eve.jpg"])}, "row 4: the dataset has no image 'eve.jpg'\n.*no prediction for 'bob/2.jpg'"),
    ],
)
def test_faults_of_archives(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(four(tmp_path, **changed), KEYS)


def test_what_is_no_archive(tmp_path: Path) -> None:
    file = tmp_path / "e.npz"
    with pytest.raises(DataError, match=r"can't read .*e\.npz: No such file"):
        read(file, KEYS)
    for content, message in ((b"", "is damaged, not an .npz file"), (b"PK\3\4", "not an .npz file"), (b"text", "not an .npz file")):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read(file, KEYS)
    with file.open("wb") as opened:
        np.save(opened, rows())
    with pytest.raises(DataError, match="contains a single array; expected the arrays keys and embeddings"):
        read(file, KEYS)
    with pytest.raises(DataError, match="arrays missing: embeddings; expected keys"):
        read(saved(file, keys=np.array(KEYS)), KEYS)
    with pytest.raises(InputError, match=r"unsupported suffix '\.pkl' for the predictions of a face model; expected \.npz, "):
        read(tmp_path / "e.pkl", KEYS)
    with pytest.raises(InputError, match="unsupported suffix ''"):
        write(tmp_path / "e", {})


def test_mutated_archives_raise_nothing_but_our_own_errors(tmp_path: Path) -> None:
    whole = four(tmp_path, not_found=np.array(["x"])).read_bytes()
    asked = (*KEYS, "x", "in no file")  # the last key makes sure that there is always a fault
    generator = random.Random(0)
    for _ in range(int(os.environ.get("ZOO_MUTATIONS", "600"))):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 3, 30))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        (tmp_path / "e.npz").write_bytes(data[: generator.choice((len(data), generator.randrange(len(data))))])
        with pytest.raises(InputError):
            read(tmp_path / "e.npz", asked)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,1,2,3", "line 3: has 4 values; expected 3, as in the header"),
        ("b,1,nan", "line 3: e1 is 'nan'; expected a finite number"),
        ("b,1,", "line 3: e1 is ''; expected a finite number"),
        ("b,1,x", "line 3: e1 is 'x'; expected a finite number"),
        ("b,0,-0.0", "line 3: all 2 values in its embedding are 0"),
        ("a,1,2", "line 3: duplicate prediction for 'a'; the first one is at .* line 2"),
        ("c,1,2", "line 3: the dataset has no image 'c'\n.*no prediction for 'b'"),
        ("", "no prediction for 'b'"),
    ],
)
def test_faults_of_tables(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"key,e0,e1\na,1,2\n{line}\n")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "e.csv", ("a", "b"))


@pytest.mark.parametrize("header", ["key,x,y", "key,e1,e2", "key,e0,e2"])
def test_wrong_headers_of_tables(header: str, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(f"{header}\na,1,2\n")
    with pytest.raises(DataError, match="expected the columns key and e0, e1, …, one for each number of the embedding; e columns found: "):
        read(tmp_path / "e.csv", ("a",))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"key": "b", "embedding": [1, 2, 3]}',
            r"line 2: its embedding has 3 values, but the embedding of .*e\.jsonl line 1 has 2; expected the same length",
        ),
        ('{"key": "b", "embedding": [1, NaN]}', "line 2: number 1 of its embedding is nan; expected a finite number"),
        ('{"key": "b", "embedding": [1, null]}', "line 2: number 1 of its embedding is None; expected a finite number"),
        ('{"key": "b", "embedding": [1, true]}', "number 1 of its embedding is True; expected a finite number"),
        ('{"key": "b", "embedding": [0, 0]}', "line 2: all 2 values in its embedding are 0"),
        ('{"key": "b", "embedding": []}', r"line 2: its embedding has the shape \[0\]"),
        ('{"key": "b", "embedding": "1 2"}', "line 2: its embedding is '1 2'; expected a list of numbers, or null"),
        ('{"key": "b", "embedding": ["1", "2"]}', "expected a list of numbers, or null"),
        ('{"key": "b"}', 'line 2: has no "embedding"; expected a list of numbers'),
        ('{"key": 7, "embedding": [1, 2]}', 'line 2: expected a JSON object with a string "key"'),
        ('{"key": "b", "embedding": [1, 2}', "line 2: invalid JSON"),
        ('{"key": "b", "embedding": [1, 1' + "0" * 400 + "]}", "line 2: number 1 of its embedding is 10+; expected a finite number"),
    ],
)
def test_faults_of_json_lines(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text('{"key": "a", "embedding": [1, 2]}\n' + line)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "e.jsonl", ("a", "b"))


def test_json_lines_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not valid UTF-8"):
        read(tmp_path / "e.jsonl", KEYS)
    with pytest.raises(DataError, match=r"can't read .*: No such file"):
        read(tmp_path / "none.jsonl", KEYS)


def test_keys_that_a_file_can_not_tell_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="some images have names that are equal or differ only in leading or trailing spaces"):
        write(tmp_path / "e.csv", {"a": rows()[0], "a ": rows()[1]})
    with pytest.raises(
        InputError, match=r"e\.csv: the name 'a\\udcff' \(one of the images\) is not valid Unicode and can't be written; rename it"
    ):
        write(tmp_path / "e.csv", {"a\udcff": rows()[0]})


def test_an_array_whose_header_is_an_unfinished_expression(tmp_path: Path) -> None:
    """NumPy repairs the headers of Python 2 by tokenizing them, which raises a `TokenError`."""
    header = b"{'descr': '<f4', 'shape': (4L,"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("keys.npy", array)
        archive.writestr("embeddings.npy", array)
    with pytest.raises(DataError, match=r"is damaged, not an \.npz file"):
        read(tmp_path / "e.npz", KEYS)
