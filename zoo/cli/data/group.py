"""The `zoo data` command group."""

from __future__ import annotations

from zoo.cli.group import CommandGroup, Verb

GROUP = CommandGroup(
    "data",
    {
        "check": Verb("read a whole dataset and report its problems", "zoo.cli.data.check", "check"),
        "convert": Verb(
            "convert a dataset to another format: zoo data convert voc:cells coco:cells-coco", "zoo.cli.data.convert", "convert"
        ),
        "split": Verb(
            "split a dataset into parts that share no group and no person: zoo data split folder:birds parts", "zoo.cli.data.split", "split"
        ),
        "show": Verb("draw a contact sheet of samples as the model receives them", "zoo.cli.data.show", "show"),
    },
)

run = GROUP.run
