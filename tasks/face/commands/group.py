"""`zoo faces`: command group for faces."""

from __future__ import annotations

from zoo.cli.group import Command, CommandGroup


def _command(summary: str, function: str, flags: str) -> Command:
    return Command(summary, f"zoo.tasks.face.commands.{function}", f"zoo.tasks.face.commands.arguments:{flags}")


GROUP = CommandGroup(
    "faces",
    {
        "align": _command(
            "find the faces in a folder of photos and write them aligned: zoo faces align photos faces", "align:align", "FacesAlignFlags"
        ),
        "verify": _command("compare the faces of two photos: zoo faces verify A.jpg B.jpg", "identify:verify", "FacesVerifyFlags"),
        "enroll": _command('add a person to a gallery: zoo faces enroll "Ann Lee" ann1.jpg ann2.jpg', "people:enroll", "FacesEnrollFlags"),
        "identify": _command("name the enrolled people in images: zoo faces identify party.jpg", "identify:identify", "FacesIdentifyFlags"),
        "list": _command("list the people enrolled", "people:list_people", "FacesListFlags"),
        "forget": _command('delete a person with all their faces: zoo faces forget "Ann Lee"', "people:forget", "FacesForgetFlags"),
        "cluster": _command("group faces by person: zoo faces cluster photos --out groups.html", "cluster:cluster", "FacesClusterFlags"),
    },
)

run = GROUP.run
