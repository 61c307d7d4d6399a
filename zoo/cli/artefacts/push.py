"""The `zoo push` command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from zoo.cli.context import print_json
from zoo.cli.flags import Json


@dataclass(frozen=True)
class PushFlags:
    """Publish a model in a repository of the Hugging Face Hub, in one commit. Log in before with hf auth login, or set HF_TOKEN."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """Folder of a run, or of a saved or exported model."""
    to: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="hf:OWNER/NAME[@BRANCH]")]
    """Repository, which is created unless it exists."""
    licence: str | None = None
    """Licence of the model: an SPDX identifier, such as Apache-2.0, or another name with --licence-link. By default that of README.md in
    the folder (zoo card), or else, if the model wasn't trained, that of its weights. Without a licence, nothing is published."""
    licence_link: str | None = None
    """URL of a licence that isn't in the Hub's list."""
    private: bool = False
    """Create a private repository, which only you and members of your organisation can see. An existing one isn't changed."""
    message: str | None = None
    """Message of the commit."""
    json: Json = False


def run(flags: PushFlags) -> int:
    """Run the command and return its exit status."""
    from zoo.publishing.push import push

    found = push(
        flags.model, flags.to, licence=flags.licence, licence_link=flags.licence_link, private=flags.private, message=flags.message
    )
    if flags.json:
        print_json(found.to_dict())
        return 0
    print(f"pushed {flags.model} to {found.url}, commit {found.commit}, licence {found.licence}")
    print(f"files: {', '.join(found.files)}")
    if found.timm:
        print(f'for timm as well: timm.create_model("hf-hub:{found.repository}", pretrained=True)')
    return 0
