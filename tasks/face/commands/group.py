"""`zoo faces`: command group for faces."""

from __future__ import annotations

from zoo.cli.group import CommandGroup, Verb

_FACES = "zoo.tasks.face.commands"
GROUP = CommandGroup(
    "faces",
    {
        "align": Verb(
            "find the faces in a folder of photos and write them aligned: zoo faces align photos faces", f"{_FACES}.align", "align"
        ),
        "verify": Verb("check whether two photos show the same person: zoo faces verify A.jpg B.jpg", f"{_FACES}.verify", "verify"),
        "enroll": Verb('enrol a person in a gallery: zoo faces enroll "Ann Lee" ann1.jpg ann2.jpg', f"{_FACES}.enroll", "enroll"),
        "identify": Verb("name the enrolled people in images: zoo faces identify party.jpg", f"{_FACES}.identify", "identify"),
        "list": Verb("list the people enrolled", f"{_FACES}.listing", "list_people"),
        "forget": Verb('delete a person with all their faces: zoo faces forget "Ann Lee"', f"{_FACES}.forget", "forget"),
        "cluster": Verb("group unknown faces by person: zoo faces cluster photos --out groups.html", f"{_FACES}.cluster", "cluster"),
    },
)

run = GROUP.run
