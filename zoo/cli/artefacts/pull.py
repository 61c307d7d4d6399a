"""The `zoo pull` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json


@dataclass(frozen=True)
class PullFlags:
    """Fetch a model from the Hugging Face Hub. Then it works without a network: set HF_HUB_OFFLINE=1. Pickles are never fetched."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="hf:OWNER/NAME[@REVISION]")]
    """Repository; the revision is a branch, a tag or a commit."""
    out: Path | None = None
    """Folder for a saved model; by default, the model is only stored in the cache of huggingface-hub."""
    json: Json = False


def run(flags: PullFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.publishing.pull import pull

    found = pull(flags.model, flags.out)
    folder = flags.out or found.folder
    if flags.json:
        print_json({**found.to_dict(), "folder": str(folder), "files": list(found.files)})
    else:
        print(f"pulled {found.reference.repository}, commit {found.commit}, to {folder}")
    return 0
