"""The `zoo data` command group."""

from __future__ import annotations

from zoo.cli.group import Command, CommandGroup

GROUP = CommandGroup(
    "data",
    {
        "check": Command("read a whole dataset and report its problems", "zoo.cli.data.check:check", "zoo.cli.data.flags:DataCheckFlags"),
        "convert": Command(
            "convert a dataset to another format: zoo data convert voc:cells coco:cells-coco",
            "zoo.cli.data.convert:convert",
            "zoo.cli.data.flags:DataConvertFlags",
        ),
        "split": Command(
            "split a dataset into parts that share no group and no person: zoo data split folder:birds parts",
            "zoo.cli.data.split:split",
            "zoo.cli.data.flags:DataSplitFlags",
        ),
        "show": Command(
            "draw a contact sheet of samples as the model receives them", "zoo.cli.data.show:show", "zoo.cli.data.flags:DataShowFlags"
        ),
    },
)

run = GROUP.run
