"""`zoo faces`: the group of commands for faces."""

from __future__ import annotations

from zoo.cli.group import CommandGroup, Verb

_FACES = "zoo.tasks.face.commands"
GROUP = CommandGroup(
    "faces",
    {
        "align": Verb(
            "find the faces in a folder of photos, and write them aligned: zoo faces align photos faces", f"{_FACES}.align", "align"
        ),
        "verify": Verb("say whether two photos show the same person: zoo faces verify A.jpg B.jpg", f"{_FACES}.verify", "verify"),
        "enroll": Verb('somebody in a gallery: zoo faces enroll "Ann Lee" ann1.jpg ann2.jpg', f"{_FACES}.enroll", "enroll"),
        "identify": Verb("say who is to be seen, of those enrolled: zoo faces identify party.jpg", f"{_FACES}.identify", "identify"),
        "list": Verb("who is enrolled", f"{_FACES}.listing", "list_people"),
        "forget": Verb('delete somebody with every face: zoo faces forget "Ann Lee"', f"{_FACES}.forget", "forget"),
        "cluster": Verb("group unknown faces by person: zoo faces cluster photos --out groups.html", f"{_FACES}.cluster", "cluster"),
    },
)

run = GROUP.run
