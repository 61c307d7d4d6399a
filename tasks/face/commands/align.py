"""`zoo faces align`: the faces of a folder of images are written to another folder, with a JSON report and a contact sheet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from zoo.cli.context import print_json, progress_of
from zoo.data.folders import Folders
from zoo.errors import DataError, Fault, ImageError, InputError
from zoo.images.decoding import SUFFIXES, Decoding
from zoo.models.config import model_folder, read_description
from zoo.report.sheet import Seen, page
from zoo.system.files import draft_folder, refuse_others, write_text
from zoo.system.progress import Progress
from zoo.system.wording import counted
from zoo.tasks.face.alignment.aligner import FoundFaces, Looking
from zoo.tasks.face.alignment.dataset import NO_FACE
from zoo.tasks.face.commands.arguments import FacesAlignFlags
from zoo.tasks.face.commands.gallery import say_skipped
from zoo.tasks.face.detection.faces import Wanted
from zoo.tasks.face.detection.finders import find_finder

REPORT, SHEET = "aligned.json", "sheet.html"
_SHOWN = 60  # maximum number of faces on the contact sheet
# default height and width of aligned faces, those of the network for which each template was made
_SIZES = {"arcface": 112, "dlib": 150, "facenet": 160}
_DEFAULT = "dlib"  # template of the default face model


def align(flags: FacesAlignFlags) -> int:
    """Run the command and return its exit status: 0, even if images were skipped (--skip-bad) or show no face."""
    with progress_of(flags.quiet) as progress:
        done = align_folder(flags.folder, flags.out, _looking(flags), flags.skip_bad, progress)
    if flags.json:
        print_json(done.to_dict())
        return 0
    say_skipped([*done.not_found, *done.unreadable])
    are, have = ("is" if len(done.faces) == 1 else "are"), ("has" if len(done.not_found) == 1 else "have")
    print(
        f"{counted(len(done.faces), 'face')} of {counted(done.pictures, 'image')} {are} in {done.out}; {len(done.not_found)} {have} no face"
    )
    print(f"contact sheet: {flags.out / SHEET}")
    return 0


def _looking(flags: FacesAlignFlags) -> Looking:
    """Return the settings for detecting and aligning faces."""
    if flags.size is not None and not 16 <= flags.size <= 4096:
        raise InputError(f"--size is {flags.size}; expected 16 to 4096 pixels")
    template = flags.template or _DEFAULT
    size_hw = (flags.size or _SIZES[template],) * 2
    if flags.model is not None:
        if flags.template is not None or flags.size is not None:
            raise InputError("--model already sets the template and the size; pass either --model, or --template and --size")
        preprocess = read_description(model_folder(flags.model))[0].preprocess
        if preprocess.alignment is None:
            raise InputError(f"{flags.model}: the model doesn't require aligned faces; pass --template and --size instead of --model")
        template, size_hw = preprocess.alignment, preprocess.size_hw
    return Looking(find_finder(flags.detector), Wanted(flags.faces), template, size_hw)


@dataclass
class AlignedFolder:
    """Result of aligning a folder."""

    out: str
    pictures: int
    faces: list[dict[str, Any]] = field(default_factory=list)  # per written file: file, key of the image, box, score, landmarks
    not_found: list[Fault] = field(default_factory=list)  # images without a face
    unreadable: list[Fault] = field(default_factory=list)  # skipped images that can't be read or aligned

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-ready dict."""
        lost = {name: [fault.to_dict() for fault in getattr(self, name)] for name in ("not_found", "unreadable")}
        return {"out": self.out, "pictures": self.pictures, "faces": self.faces, **lost}


def align_folder(folder: Path, out: Path, looking: Looking, skip: bool, progress: Progress) -> AlignedFolder:
    """Detect and align the faces in every image of a folder, and write them as PNG files.

    The folder is searched recursively, and the output folder has the same subfolders. The output folder is written atomically. If it holds
    earlier output for the same input folder, it is replaced. `skip` decides whether images that can't be read or aligned are skipped or
    raise an ImageError.
    """
    folders = _folders(folder, out)
    files = folders.pictures(folder)
    if not files or (folders.faults and not skip):
        lost = "can't be read as a whole" if files else f"contains no images (files ending in {', '.join(SUFFIXES)})"
        raise DataError(f"{folder} {lost}", folders.faults)
    for note in folders.notes:
        progress.say(f"{folder}: {note}")
    done, shown = AlignedFolder(str(out), len(files), unreadable=folders.faults), list[Seen]()
    distinct = len({path.with_suffix("") for path in files}) == len(files)
    with draft_folder(out, REPORT) as draft:
        for path in progress.track(files, "detecting faces", len(files)):
            key = path.relative_to(folder)
            try:
                found = looking(Decoding().read(path)[0], key.as_posix())
            except ImageError as error:
                if not skip:
                    raise
                done.unreadable.append(Fault(key.as_posix(), error.reason, whole=True, kind=error.kind))
                continue
            if not found.crops:
                done.not_found.append(Fault(key.as_posix(), NO_FACE, whole=True, kind="no-face"))
            entries = _written(found, draft, key.with_suffix("") if distinct else key)
            done.faces += entries
            shown += [Seen(entry["file"], crop, (f"{entry['score']:.3f}",)) for entry, crop in zip(entries, found.crops, strict=True)]
            del shown[_SHOWN:]
        report = {"source": str(folder.resolve()), "settings": looking.settings, **done.to_dict()}
        write_text(draft / REPORT, json.dumps(report, indent=1) + "\n")
        lost = f"{len(done.not_found)} images without a face"
        title = f"{len(done.faces)} faces in {len(files)} images, {lost}; aligned to {looking.template}"
        write_text(draft / SHEET, page([[one] for one in shown], title, ()))
    return done


def _folders(folder: Path, out: Path) -> Folders:
    """Check both folders, and return the lister of the first."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of images. Relative paths start at {Path.cwd()}")
    old, new = folder.resolve(), out.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise InputError(f"the output folder {out} and the input folder {folder} contain each other; choose a separate output folder")
    _check_old(folder, out)
    return Folders(folder)


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
