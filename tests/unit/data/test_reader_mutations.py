"""Randomly damaged annotation files: every reader raises only the zoo's errors, in limited time and memory."""

from __future__ import annotations

import gc
import json
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peak import peak_mib, reset_peak_mib
from tests.pictures import picture, write_picture
from zoo.curation.check import KINDS
from zoo.errors import InputError
from zoo.task.contract import get_task

_COUNT = int(os.environ.get("ZOO_MUTATIONS", "150"))  # damaged files per reader; before a release: ZOO_MUTATIONS=10000 (two minutes)
_LIMIT_S = 1.0
_LIMIT_MIB = 64.0  # in addition to the memory after opening the intact file; over all damaged files together, so that leaks count, too


@dataclass(frozen=True)
class Case:
    """A reader with a small dataset.

    `write` writes the dataset into a folder, and returns the dataset string and the file to damage.
    """

    task: str
    write: Callable[[Path], tuple[str, Path]]


def pictures(root: Path, *names: str) -> None:
    for index, name in enumerate(names):
        write_picture(root / name, picture((9, 9, 9), index, (10, 20)))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def labels_csv(root: Path, name: str = "labels.csv", separator: str = ",") -> tuple[str, Path]:
    pictures(root, "a/1.png", "b/2.png", "b/3.png")
    rows = (("path", "label", "split"), ("a/1.png", "cat", "train"), ("b/2.png", '"dog, big"', "train"), ("b/3.png", "cat", "test"))
    return f"csv:{root / name}?split=train", text(root / name, "".join(f"{separator.join(row)}\n" for row in rows))


def labels_parquet(root: Path) -> tuple[str, Path]:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures(root, "a/1.png", "b/2.png")
    pq.write_table(pa.table({"path": ["a/1.png", "b/2.png"], "label": [1, 2]}), root / "labels.parquet")
    return f"csv:{root / 'labels.parquet'}", root / "labels.parquet"


def saved_table(root: Path, damaged: str) -> tuple[str, Path]:
    hf = pytest.importorskip("datasets", reason="needs the extra [hf]")
    from tests.unit.tasks.classification.test_scheme_hf import save, table

    hf.disable_progress_bars()
    folder = save(table([0, 1, 0, 1]), root / "saved")
    return f"hf:{folder}", next(folder.glob(damaged))


def boxes_csv(root: Path) -> tuple[str, Path]:
    pictures(root, "a.png", "b.png")
    content = "path,xmin,ymin,xmax,ymax,label\na.png,1,2,11,7.5,dog\na.png,0,0,20,10,cat\nb.png,,,,,\n"
    return f"csv:{root / 'boxes.csv'}", text(root / "boxes.csv", content)


def boxes_list(root: Path) -> tuple[str, Path]:
    pictures(root, "a.png", "b.png")
    content = 'image_id;width;height;bbox;class\na;20;10;"[1.5, 2.5, 10, 5]";dog\nb;20;10;"[[0,0,20,10],[1,1,2,2]]";Bär\n'
    (root / "list.csv").write_bytes(content.encode("cp1252"))
    return f"csv:{root / 'list.csv'}", root / "list.csv"


def yolo(root: Path, damaged: str) -> tuple[str, Path]:
    pictures(root, "images/a.png", "images/b.png")
    text(root / "labels/a.txt", "0 0.5 0.5 0.5 0.2\n1 0.25 0.25 0.125 0.5\n")
    text(root / "list.txt", "./images/a.png\nimages/b.png\n")
    text(root / "data.yaml", "path: .\ntrain: images\nval: [list.txt]\nnc: 2\nnames:\n  0: cat\n  1: 'dog'\n")
    return f"yolo:{root}?split=val", root / damaged


def darknet(root: Path, damaged: str) -> tuple[str, Path]:
    pictures(root, "obj/a.png", "obj/b.png")
    text(root / "obj/a.txt", "0 .1 .1 .4 .12 .38 .4 .12 .38 .7\n1 0.25 0.25 0.125 0.5 .9\n1 2 9 2 9 8 2 8 dog 0\n")
    text(root / "train.txt", "data/obj/a.png\nC:\\obj\\b.png\n")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    return f"yolo:{root}/obj.data", root / damaged


def pairs_txt(root: Path) -> tuple[str, Path]:
    pictures(root, *(f"{person}/{person}_000{number}.png" for person in ("Ann", "Bob") for number in (1, 2)))
    return f"lfw:{root}", text(root / "pairs.txt", "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t2\nAnn\t2\tBob\t2\n")


def pairs_bin(root: Path, protocol: int) -> tuple[str, Path]:
    (root / "pairs.bin").write_bytes(pickle.dumps(([b"one", b"two" * 100, b"three", b"four"], [True, False]), protocol))
    return f"bin:{root / 'pairs.bin'}", root / "pairs.bin"


def coco(root: Path) -> tuple[str, Path]:
    pictures(root, "1.png", "2.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in (1, 2)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 5, 6.5], "area": 32.5, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    return f"coco:{root}", text(root / "instances.json", json.dumps(content))


def voc(root: Path) -> tuple[str, Path]:
    pictures(root, "JPEGImages/a.jpg")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>15</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>20</width><height>10</height><depth>3</depth></size>"
    thing = f"<object><name>cat</name><difficult>0</difficult>{box}</object>"
    return f"voc:{root}", text(root / "Annotations/a.xml", f"<annotation><filename>a.jpg</filename>{size}{thing}</annotation>")


def voc_in_gbk(root: Path) -> tuple[str, Path]:
    data, file = voc(root)
    content = file.read_text().replace("<annotation>", "<annotation xmlns='urn:voc'>").replace("cat", "\u732b")
    file.write_bytes(f"<?xml version='1.0' encoding='gbk'?>{content}".encode("gbk"))
    return data, file


def voc_list(root: Path) -> tuple[str, Path]:
    data, file = voc(root)
    pictures(root, "JPEGImages/b c.jpg")
    text(root / "Annotations/b c.xml", file.read_text().replace("a.jpg", "b c.jpg"))
    return f"{data}?split=train", text(root / "ImageSets/Main/train.txt", '"b c"  1\r\n/home/me/JPEGImages/a.jpg -1\n')


CASES = {
    "labels.csv": Case("classification", labels_csv),
    "labels.tsv": Case("classification", lambda root: labels_csv(root, "labels.tsv", "\t")),
    "labels.parquet": Case("classification", labels_parquet),
    "saved table": Case("classification", lambda root: saved_table(root, "*.arrow")),
    "saved state": Case("classification", lambda root: saved_table(root, "state.json")),
    "saved features": Case("classification", lambda root: saved_table(root, "dataset_info.json")),
    "boxes.csv": Case("detection", boxes_csv),
    "list.csv": Case("detection", boxes_list),
    "yolo labels": Case("detection", lambda root: yolo(root, "labels/a.txt")),
    "yolo list": Case("detection", lambda root: yolo(root, "list.txt")),
    "yolo yaml": Case("detection", lambda root: yolo(root, "data.yaml")),
    "darknet data": Case("detection", lambda root: darknet(root, "obj.data")),
    "darknet list": Case("detection", lambda root: darknet(root, "train.txt")),
    "darknet names": Case("detection", lambda root: darknet(root, "obj.names")),
    "darknet labels": Case("detection", lambda root: darknet(root, "obj/a.txt")),
    "coco": Case("detection", coco),
    "voc": Case("detection", voc),
    "voc in gbk": Case("detection", voc_in_gbk),
    "voc list": Case("detection", voc_list),
    "pairs.txt": Case("face", pairs_txt),
    "pairs.bin protocol 2": Case("face", lambda root: pairs_bin(root, 2)),
    "pairs.bin protocol 4": Case("face", lambda root: pairs_bin(root, 4)),
}


def damage(data: bytes, rng: random.Random) -> bytes:
    """Change, remove, insert or repeat bytes in one to three places, or truncate the data."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 7))
        part = bytes(changed[place : place + length])
        replacement = rng.choice(
            (
                b"",
                part + part,
                bytes(rng.randrange(256) for _ in part),
                bytes(rng.choice(data) for _ in part),
                b"9" * length,
                b"-1",
                b"../",
                b"\x00",
            )
        )
        changed[place : place + length] = replacement
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.05 else changed)


def test_the_peak_is_seen_and_forgotten() -> None:
    """Runs in a separate process: one that has held and freed gigabytes can allocate a hundred MiB without growing."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system can't reset a process's peak memory")
    subprocess.run([sys.executable, "-c", "from tests.peak import hold_and_release; hold_and_release()"], check=True)


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    task = get_task(case.task)
    data, file = case.write(tmp_path)
    if data.partition(":")[0] not in task.data.schemes:
        pytest.skip(f"the scheme {data.partition(':')[0]}: doesn't exist")
    assert len(task.open(data)) > 0
    whole, rng, refused = file.read_bytes(), random.Random(name), 0
    kinds: set[str] = set()
    gc.collect()
    before = reset_peak_mib()
    for attempt in range(_COUNT):
        damaged = damage(whole, rng)
        file.unlink()  # not overwritten: the previous file may still be mapped into memory
        file.write_bytes(damaged)
        start = time.process_time()
        try:
            dataset = task.open(data, rng.choice(("raise", "skip")))
            assert all(isinstance(key, str) for key in dataset.keys)
            kinds |= {fault.kind for fault in dataset.skipped}
        except InputError as error:
            refused += 1
            kinds |= {fault.kind for fault in getattr(error, "faults", ())}
        except Exception as error:
            raise AssertionError(f"damage {attempt} of {name}, {damaged!r}, raised {error!r}") from error
        assert time.process_time() - start < _LIMIT_S, f"damage {attempt} of {name} took too long: {damaged!r}"
    assert 0 < refused < _COUNT  # some of the files are refused, but not all
    assert kinds <= set(KINDS)
    assert peak_mib() - before < _LIMIT_MIB


@pytest.mark.parametrize(
    ("name", "content"),
    [("yolo list", b"/image\x00/a.png\nim\x00png\n"), ("saved features", b'{"features": {"image": {"_type": "Image"}, "label": '
      b'{"names": [9999999, "cat"], "_type": "ClassLabel"}}}')],
)  # fmt: skip
def test_damage_that_was_found_by_many_attempts(name: str, content: bytes, tmp_path: Path) -> None:
    data, file = CASES[name].write(tmp_path)
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(InputError):
        get_task(CASES[name].task).open(data)
