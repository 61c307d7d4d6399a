"""The `zoo info` command."""

from __future__ import annotations

from zoo.cli.context import print_json
from zoo.cli.flags import InfoFlags


def run(flags: InfoFlags) -> int:
    """Describe a backbone, a task or a saved model, and return the exit status."""
    from zoo.cli.tables import print_info
    from zoo.models.info import info

    content = info(flags.name)
    if flags.json:
        print_json(content)
    else:
        print_info(content)
    return 0
