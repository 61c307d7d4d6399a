"""Dataset check of images: every kind of damage in every format that names image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.damaged import Labelled, check, scene, write, write_box_table, write_coco, write_folders, write_voc
from tests.pictures import cut_short, write_picture
from zoo.curation.check.findings import Findings
from zoo.curation.check.pictures import Facts, look, look_at_all
from zoo.data.dataset import Record
from zoo.errors import DataError

_BOXES: list[list[Labelled]] = [[("cat", (4 + n, 5, 30 + n, 40))] for n in range(6)]


def _folder(root: Path) -> tuple[str, str, Path]:
    write_folders(root)
    return f"folder:{root}", "classification", root / "cat" / "1.png"


def _identities(root: Path) -> tuple[str, str, Path]:
    write_folders(root)
    return f"identities:{root}", "face", root / "cat" / "1.png"


def _table(root: Path) -> tuple[str, str, Path]:
    write_folders(root)
    lines = [f"{name}/{number}.png,{name}" for name in ("cat", "dog") for number in range(3)]
    write(root / "labels.csv", "path,label\n" + "\n".join(lines) + "\n")
    return f"csv:{root / 'labels.csv'}", "classification", root / "cat" / "1.png"


def _coco(root: Path) -> tuple[str, str, Path]:
    write_coco(root, _BOXES)
    return f"coco:{root}", "detection", root / "images" / "1.png"


def _voc(root: Path) -> tuple[str, str, Path]:
    write_voc(root, _BOXES)
    return f"voc:{root}", "detection", root / "JPEGImages" / "1.png"


def _boxes(root: Path) -> tuple[str, str, Path]:
    write_box_table(root, _BOXES)
    return f"csv:{root / 'boxes.csv'}", "detection", root / "images" / "1.png"


_FORMATS = {"folder": _folder, "identities": _identities, "csv": _table, "coco": _coco, "voc": _voc, "box csv": _boxes}


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(1000))


def _cut(path: Path) -> None:
    cut_short(path)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _huge(path: Path) -> None:
    # a valid PPM header; images of this size are rejected before they are read
    path.write_bytes(b"P6 20000 20000 255\n" + bytes(1000))


def _tiny(path: Path) -> None:
    write_picture(path, scene(1, (8, 8)))


def _jpeg_content(path: Path) -> None:
    done, data = cv2.imencode(".jpg", scene(1))
    assert done
    path.write_bytes(data.tobytes())


def _alpha(path: Path) -> None:
    Image.fromarray(np.dstack([scene(1), np.full((48, 64), 200, np.uint8)])).save(path)


def _grey(path: Path) -> None:
    Image.fromarray(scene(1)[..., 0]).save(path)


def _deep(path: Path) -> None:
    assert cv2.imwrite(str(path), scene(1).astype(np.uint16) * 257)
    Image.fromarray(scene(1)[..., 0].astype(np.uint16) * 257).save(path)


def _cmyk(path: Path) -> None:
    Image.fromarray(scene(1)).convert("CMYK").save(path, format="JPEG")


def _blank(path: Path) -> None:
    write_picture(path, np.full((48, 64, 3), 90, np.uint8))


_DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "zeros": (_zeros, "unreadable", "nothing but zeros"),
    "flipped byte": (_flip, "unreadable", "is damaged"),
    "empty": (lambda path: write(path, ""), "unreadable", "is empty"),
    "web page": (lambda path: write(path, "<!doctype html><html>404</html>"), "unreadable", "HTML"),
    "cut": (_cut, "truncated", "is cut short"),
    "huge": (_huge, "huge", "20000×20000"),
    "tiny": (_tiny, "tiny", "8×8"),
    "JPEG as PNG": (_jpeg_content, "wrong-extension", "is a JPEG file, but its extension is .png"),
    "transparency": (_alpha, "odd-mode", "with transparency"),
    "grey": (_grey, "odd-mode", "is grey"),
    "16 bit": (_deep, "odd-mode", "more than 8 bits"),
    "CMYK": (_cmyk, "odd-mode", "CMYK"),
    "one colour": (_blank, "blank", "a single colour"),
}


def _about(found: Findings, kind: str, path: Path) -> list[str]:
    return [str(finding) for finding in found.of(kind) if path.name in str(finding)]


@pytest.mark.parametrize("name", _FORMATS)
def test_sound_data_has_no_findings(name: str, tmp_path: Path) -> None:
    data, task, _ = _FORMATS[name](tmp_path / "data")
    found = check(data, task)
    assert found.ok, found.findings
    assert (found.pictures, found.counts) == (6, {})


@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("name", _FORMATS)
def test_each_damage_is_found_and_named(name: str, damage: str, tmp_path: Path) -> None:
    data, task, victim = _FORMATS[name](tmp_path / "data")
    change, kind, words = _DAMAGE[damage]
    if damage in ("huge", "tiny") and name in ("coco", "voc"):
        kind, words = "wrong-size", "but the file has"  # their annotations state the size
    change(victim)
    found = check(data, task)
    lines = _about(found, kind, victim) or (_about(found, kind, tmp_path / "boxes.csv") if name == "box csv" else [])
    assert lines, found.findings
    assert words in lines[0]
    assert not found.ok


@pytest.mark.parametrize("name", _FORMATS)
def test_a_missing_picture_is_found_wherever_it_is_named(name: str, tmp_path: Path) -> None:
    data, task, victim = _FORMATS[name](tmp_path / "data")
    victim.unlink()
    found = check(data, task)
    if name in ("folder", "identities"):  # no annotation names it
        assert found.ok
        return
    assert found.counts == {"no-picture": 1}
    assert "1.png" in str(found.findings[0])


def test_a_link_to_nothing_is_missing(tmp_path: Path) -> None:
    assert "does not exist" in look(tmp_path / "absent.png").fault


def test_a_majority_of_grey_makes_colour_the_odd_one(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("*.png"))[:5]):
        Image.fromarray(scene(number + 1)[..., 0]).save(path)
    found = check(f"folder:{tmp_path}")
    assert [(f.kind, f.key) for f in found.findings] == [("odd-mode", "dog/2.png")]
    assert "is colour, but most images (5) are grey" in found.findings[0].text


def test_pictures_of_other_formats_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    write_folders(tmp_path)
    (tmp_path / "cat" / "9.psd").write_bytes(b"8BPS\0\1")
    assert [str(f) for f in check(f"folder:{tmp_path}").findings] == [
        "cat/9.psd: is ignored, because it isn't an image in a supported format",
        f"{tmp_path}: files that aren't images in a supported format, ignored: 1, cat/9.psd",
    ]


def test_processes_see_what_one_process_sees(tmp_path: Path) -> None:
    write_folders(tmp_path, each=4)
    cut_short(tmp_path / "dog" / "2.png")
    records = [Record(str(path), path, 0) for path in sorted(tmp_path.rglob("*.png"))]
    records.insert(3, Record("given", scene(77), 0))
    alone, together = list(look_at_all(records, 0)), list(look_at_all(records, 2))
    assert alone == together
    assert [fact.fault != "" for fact in together].index(True) == 7
    assert together[3].format == ""


def test_equal_pixels_have_equal_digests_whatever_the_file(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", scene(1))
    write_picture(tmp_path / "b.bmp", scene(1))
    write_picture(tmp_path / "c.png", scene(2))
    a, b, c = (look(path) for path in sorted(tmp_path.iterdir()))
    assert a.digest == b.digest != c.digest
    assert (a.format, b.format, a.size_hw) == ("PNG", "BMP", (48, 64))
    # the same bytes in another shape are a different image
    assert look(scene(1)).digest == a.digest != look(scene(1).reshape(64, 48, 3)).digest
    assert len(a.thumb) == 16 * 16


def test_the_readers_own_refusal_still_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check(f"folder:{tmp_path / 'absent'}")


def test_facts_without_a_picture_are_blank() -> None:
    assert Facts(fault="is gone").blank
