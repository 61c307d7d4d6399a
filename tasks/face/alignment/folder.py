"""A folder of pictures to a folder of aligned faces, with a report of what was found and a sheet to look at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from zoo.data.folders import picture_files
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images.decoding import SUFFIXES, Decoding
from zoo.report.sheet import Seen, page
from zoo.system.files import draft_folder, refuse_others, write_text
from zoo.system.progress import Progress
from zoo.tasks.face.alignment.aligner import FoundFaces, Looking
from zoo.tasks.face.alignment.cache import NO_FACE

REPORT, SHEET = "aligned.json", "sheet.html"
_SHOWN = 60  # faces on the sheet


@dataclass(frozen=True)
class AlignedFolder:
    """What became of a folder.

    Attributes:
        out: the new folder.
        pictures: how many were looked at.
        faces: one entry per file written, JSON-ready: where it is, the picture it is from, box, score and landmarks.
        not_found: pictures without a face.
        unreadable: pictures that can't be read, and were left out.
    """

    out: str
    pictures: int
    faces: Sequence[dict[str, Any]]
    not_found: tuple[Fault, ...]
    unreadable: tuple[Fault, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        lost = {name: [fault.to_dict() for fault in getattr(self, name)] for name in ("not_found", "unreadable")}
        return {"out": self.out, "pictures": self.pictures, "faces": list(self.faces), **lost}


def align_folder(
    folder: Path, out: Path, looking: Looking, *, skip: bool = False, decoding: Decoding | None = None, progress: Progress | None = None
) -> AlignedFolder:
    """Find and align the faces of every picture.

    Args:
        folder: searched whole; its folders come out the same.
        out: appears whole or not at all; what this function has written there before, from the same folder, is replaced.
        looking: how.
        skip: whether pictures that can't be read, or whose faces can't be aligned, are left out.
        decoding: how pictures are read.
        progress: where the bar is drawn.

    Raises:
        InputError: one folder is in the other, or `out` holds something else, or faces of another folder.
        DataError: no pictures there.
        ImageError: a picture can't be read, or a face in it can't be aligned, and it isn't to be skipped.
    """
    files = _files(folder, out)
    faces: list[dict[str, Any]] = []
    shown: list[Seen] = []
    not_found: list[Fault] = []
    unreadable: list[Fault] = []
    decoding, progress = decoding or Decoding(), progress or Progress(enabled=False)
    names = {path.relative_to(folder).with_suffix("") for path in files}
    whole = len(names) == len(files)
    with draft_folder(out, REPORT) as draft:
        for path in progress.track(files, "finding faces", len(files)):
            key = path.relative_to(folder)
            try:
                found = looking(decoding.read(path)[0], key.as_posix())
            except ImageError as error:
                if not skip:
                    raise
                unreadable.append(Fault(key.as_posix(), error.reason, whole=True, kind=error.kind))
                continue
            if not found.crops:
                not_found.append(Fault(key.as_posix(), NO_FACE, whole=True, kind="no-face"))
            entries = _written(found, draft, key.with_suffix("") if whole else key)
            faces += entries
            shown += [Seen(entry["file"], crop, (f"{entry['score']:.3f}",)) for entry, crop in zip(entries, found.crops, strict=True)]
            del shown[_SHOWN:]
        done = AlignedFolder(str(out), len(files), faces, tuple(not_found), tuple(unreadable))
        how = {**looking.finder.settings, "template": looking.template, "size_hw": looking.size_hw, "faces": asdict(looking.wanted)}
        write_text(draft / REPORT, json.dumps({"source": str(folder.resolve()), "settings": how, **done.to_dict()}, indent=1) + "\n")
        title = f"{len(faces)} faces in {len(files)} pictures, {len(not_found)} without; aligned to {looking.template}"
        write_text(draft / SHEET, page([[one] for one in shown], title, ()))
    return done


def _files(folder: Path, out: Path) -> list[Path]:
    """Return the pictures, after a look at both folders."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected one with pictures. It is relative to {Path.cwd()}")
    old, new = folder.resolve(), out.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise InputError(f"{out} and {folder} are one in the other; choose another place, or the faces would be taken for pictures")
    _check_old(folder, out)
    files = picture_files(folder)
    if not files:
        raise DataError(f"{folder} holds no pictures (files ending in {', '.join(SUFFIXES)})")
    return files


def _check_old(folder: Path, out: Path) -> None:
    """Refuse to replace what was made of another folder, or holds more than was made."""
    if not (out / REPORT).is_file():
        return  # `draft_folder` says what else there may be
    try:
        report = json.loads((out / REPORT).read_text(encoding="utf-8"))
        source, made = report["source"], {REPORT, SHEET, *(face["file"] for face in report["faces"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out / REPORT} doesn't say which folder {out} was made of; choose another place, or delete it") from error
    if source != str(folder.resolve()):
        raise InputError(f"{out} holds the faces of {source}; choose another place for those of {folder}, or delete it")
    refuse_others(out, made)


def _written(found: FoundFaces, draft: Path, name: Path) -> list[dict[str, Any]]:
    """Write a picture's faces, as NAME.png and, where that is taken, NAME-2.png and so on, and return an entry for each."""
    entries = []
    for number, crop in enumerate(found.crops):
        file, next_one = name.with_name(f"{name.name}.png"), 2
        while (draft / file).exists():
            file, next_one = name.with_name(f"{name.name}-{next_one}.png"), next_one + 1
        (draft / file).parent.mkdir(parents=True, exist_ok=True)
        (draft / file).write_bytes(cv2.imencode(".png", np.ascontiguousarray(crop[:, :, ::-1]))[1].tobytes())
        box, score, points = (part[number] for part in (found.found.boxes, found.found.scores, found.found.landmarks))
        marks = points.tolist() if np.isfinite(points).all() else None
        entries.append({"file": file.as_posix(), "key": found.key, "box": box.tolist(), "score": float(score), "landmarks": marks})
    return entries
