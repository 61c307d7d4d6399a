"""The commands of `zoo faces`."""

from __future__ import annotations

from zoo.cli.group import Command, CommandGroup


def _command(summary: str, function: str, flags: str, loads: bool = True) -> Command:
    return Command(summary, f"zoo.tasks.face.commands.{function}", f"zoo.tasks.face.commands.arguments:{flags}", loads)


COMMANDS = {
    "align": _command("align the faces in a folder of photos: zoo faces align photos faces", "align:align", "FacesAlignFlags"),
    "verify": _command("compare the faces of two photos: zoo faces verify A.jpg B.jpg", "gallery:verify", "FacesVerifyFlags"),
    "enroll": _command('enrol a person in a gallery: zoo faces enroll "Ann Lee" ann1.jpg ann2.jpg', "gallery:enroll", "FacesEnrollFlags"),
    "identify": _command("identify enrolled people in images: zoo faces identify party.jpg", "gallery:identify", "FacesIdentifyFlags"),
    "list": _command("list enrolled people", "gallery:list_people", "FacesListFlags", loads=False),
    "forget": _command(
        'delete a person and all their faces: zoo faces forget "Ann Lee"', "gallery:forget", "FacesForgetFlags", loads=False
    ),
    "cluster": _command(
        "group unknown faces by person: zoo faces cluster photos --out groups.html", "gallery:cluster", "FacesClusterFlags"
    ),
}

run = CommandGroup("faces", COMMANDS).run
