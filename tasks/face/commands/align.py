"""`zoo faces align`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from zoo.cli.context import print_json, progress_of
from zoo.cli.flags import parse
from zoo.errors import InputError
from zoo.system.wording import counted
from zoo.tasks.face.commands.arguments import FacesAlignFlags

if TYPE_CHECKING:
    from zoo.tasks.face.alignment.aligner import Looking

_SIZES = {"arcface": 112, "dlib": 150, "facenet": 160}  # that the networks behind the templates take
_DEFAULT = "dlib"  # the default embedder's


def align(words: list[str]) -> int:
    """Run the command, and return its exit status: 0 also where pictures were left out, as asked, or show no face.

    Raises:
        InputError: the folders, the template or the model are wrong.
    """
    flags = parse(FacesAlignFlags, "faces align", words)
    from zoo.tasks.face.alignment.folder import SHEET, align_folder  # after --help

    with progress_of(flags.quiet) as progress:
        done = align_folder(flags.folder, flags.out, _looking(flags), skip=flags.skip_bad, progress=progress)
    if flags.json:
        print_json(done.to_dict())
    else:
        for fault in (*done.not_found, *done.unreadable):
            print(f"left out: {fault}", file=sys.stderr)
        faces, none = counted(len(done.faces), "face"), "has" if len(done.not_found) == 1 else "have"
        are = "is" if len(done.faces) == 1 else "are"
        print(f"{faces} of {counted(done.pictures, 'picture')} {are} in {done.out}; {len(done.not_found)} {none} none")
        print(f"look at them: {flags.out / SHEET}")
    return 0


def _looking(flags: FacesAlignFlags) -> Looking:
    """Return how the pictures are looked at."""
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
            raise InputError("--model has a template and a size of its own; give it, or --template and --size")
        preprocess = read_description(model_folder(flags.model))[0].preprocess
        if preprocess.alignment is None:
            raise InputError(f"{flags.model}: the model's faces aren't aligned; give --template and --size")
        template, size_hw = preprocess.alignment, preprocess.size_hw
    return Looking(find_finder(flags.detector), Wanted(flags.faces), template, size_hw)
