"""`zoo faces align`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zoo.cli.context import print_json, progress_of
from zoo.errors import InputError
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesAlignFlags

if TYPE_CHECKING:
    from zoo.tasks.face.alignment.aligner import Looking

_SIZES = {
    "arcface": 112,
    "dlib": 150,
    "facenet": 160,
}  # default height and width of aligned faces, those of the network for which each template was made
_DEFAULT = "dlib"  # template of the default face model


def align(flags: FacesAlignFlags) -> int:
    """Run the command and return its exit status: 0, even if images were skipped (--skip-bad) or show no face."""
    from zoo.tasks.face.alignment.folder import SHEET, align_folder  # slow to import, not needed for --help

    with progress_of(flags.quiet) as progress:
        done = align_folder(flags.folder, flags.out, _looking(flags), skip=flags.skip_bad, progress=progress)
    if flags.json:
        print_json(done.to_dict())
    else:
        for fault in (*done.not_found, *done.unreadable):
            print(f"skipped: {fault}", file=sys.stderr)
        faces, none = counted(len(done.faces), "face"), "has" if len(done.not_found) == 1 else "have"
        are = "is" if len(done.faces) == 1 else "are"
        print(f"{faces} of {counted(done.pictures, 'image')} {are} in {done.out}; {len(done.not_found)} {none} no face")
        print(f"contact sheet: {flags.out / SHEET}")
    return 0


def _looking(flags: FacesAlignFlags) -> Looking:
    """Return the settings for detecting and aligning faces."""
    from zoo.models.config import model_folder, read_description
    from zoo.tasks.face.alignment.aligner import Looking
    from zoo.tasks.face.detection.faces import Wanted
    from zoo.tasks.face.detection.finders import find_finder

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
