"""The `zoo data` command group, one module per command."""

from __future__ import annotations

from zoo.cli.group import Command, CommandGroup

_SUMMARIES = {
    "check": "read a whole dataset and report its problems",
    "convert": "convert a dataset to another format: zoo data convert voc:cells coco:cells-coco",
    "split": "split a dataset, keeping each group and person in one part: zoo data split folder:birds parts",
    "show": "draw a contact sheet of samples as the model receives them",
}
GROUP = CommandGroup(
    "data",
    {
        name: Command(summary, f"zoo.cli.data.{name}:{name}", f"zoo.cli.data.flags:Data{name.title()}Flags", loads=name == "show")
        for name, summary in _SUMMARIES.items()
    },
)

run = GROUP.run
