"""`zoo data`: the group of commands for data sets."""

from __future__ import annotations

from zoo.cli.group import CommandGroup, Verb

GROUP = CommandGroup(
    "data",
    {
        "check": Verb("read a data set whole and report what is wrong with it", "zoo.cli.data.check", "check"),
        "convert": Verb("from one format to another: zoo data convert voc:cells coco:cells-coco", "zoo.cli.data.convert", "convert"),
        "split": Verb("into parts that share no group and no person: zoo data split folder:birds parts", "zoo.cli.data.split", "split"),
        "show": Verb("a contact sheet of samples as the model will see them", "zoo.cli.data.show", "show"),
    },
)

run = GROUP.run
