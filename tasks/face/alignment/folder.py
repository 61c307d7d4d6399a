"""Alignment of a folder of images: the faces are written to another folder, with a JSON report and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
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
from zoo.tasks.face.alignment.dataset import NO_FACE

REPORT, SHEET = "aligned.json", "sheet.html"
_SHOWN = 60  # maximum number of faces on the contact sheet


@dataclass(frozen=True)
class AlignedFolder:
    """Result of aligning a folder."""

    out: str
    pictures: int
    faces: Sequence[dict[str, Any]]  # one JSON-ready dict per written file: file, key of the image, box, score, landmarks
    not_found: tuple[Fault, ...]  # one fault per image without a face
    unreadable: tuple[Fault, ...]  # one fault per image that can't be read or aligned and was skipped

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-ready dict."""
        lost = {name: [fault.to_dict() for fault in getattr(self, name)] for name in ("not_found", "unreadable")}
        return {"out": self.out, "pictures": self.pictures, "faces": list(self.faces), **lost}


def align_folder(folder: Path, out: Path, looking: Looking, *, skip: bool = False, progress: Progress | None = None) -> AlignedFolder:
    """Detect and align the faces in every image of a folder, and write them as PNG files.

    The folder is searched recursively, and the output folder has the same sub-folders. The output folder is written atomically. If it holds
    earlier output for the same input folder, it is replaced.

    Args:
        folder: folder of images.
        out: output folder.
        looking: face detector and aligner.
        skip: whether to skip images that can't be read or whose faces can't be aligned; otherwise they raise an ImageError.
        progress: progress display; None for no display.
    """
    files = _files(folder, out)
    faces: list[dict[str, Any]] = []
    shown: list[Seen] = []
    not_found: list[Fault] = []
    unreadable: list[Fault] = []
    progress = progress or Progress(enabled=False)
    names = {path.relative_to(folder).with_suffix("") for path in files}
    whole = len(names) == len(files)
    with draft_folder(out, REPORT) as draft:
        for path in progress.track(files, "detecting faces", len(files)):
            key = path.relative_to(folder)
            try:
                found = looking(Decoding().read(path)[0], key.as_posix())
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
        report = {"source": str(folder.resolve()), "settings": looking.settings, **done.to_dict()}
        write_text(draft / REPORT, json.dumps(report, indent=1) + "\n")
        title = f"{len(faces)} faces in {len(files)} images, {len(not_found)} images without a face; aligned to {looking.template}"
        write_text(draft / SHEET, page([[one] for one in shown], title, ()))
    return done


def _files(folder: Path, out: Path) -> list[Path]:
    """Check both folders and return the image files."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of images. Relative paths start at {Path.cwd()}")
    old, new = folder.resolve(), out.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise InputError(f"the output folder {out} and the input folder {folder} contain each other; choose a separate output folder")
    _check_old(folder, out)
    files = picture_files(folder)
    if not files:
        raise DataError(f"{folder} contains no images (files ending in {', '.join(SUFFIXES)})")
    return files


def _check_old(folder: Path, out: Path) -> None:
    """Reject an output folder that was made from another input folder, or that contains files not written by this module."""
    if not (out / REPORT).is_file():
        return  # `draft_folder` reports any other content
    try:
        report = json.loads((out / REPORT).read_text(encoding="utf-8"))
        source, made = report["source"], {REPORT, SHEET, *(face["file"] for face in report["faces"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out / REPORT} doesn't name the input folder of {out}; choose another output folder, or delete {out}") from error
    if source != str(folder.resolve()):
        raise InputError(f"{out} holds the faces of {source}; choose another output folder for {folder}, or delete {out}")
    refuse_others(out, made)


def _written(found: FoundFaces, draft: Path, name: Path) -> list[dict[str, Any]]:
    """Write the faces of an image as NAME.png, NAME-2.png and so on, and return an entry of the report for each face."""
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
