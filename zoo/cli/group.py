"""Classes for commands such as `zoo train`, and for groups of commands such as `zoo data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from zoo.errors import InputError


@dataclass(frozen=True)
class Command:
    """A command of the command line. Its parts are imported only when they are needed, so that `--help` is fast.

    Attributes:
        summary: one-line description for the help page.
        function: "module:name" of the function that runs the command with the parsed flags, and returns the exit status.
        flags: "module:name" of the dataclass of the flags, or of a function that returns it for the arguments; "" for unparsed arguments.
        loads: whether the command loads models, so that it has the flags of `zoo.cli.trust`, such as --trust and --identity.
    """

    summary: str
    function: str
    flags: str = ""
    loads: bool = False

    def run(self, name: str, words: list[str]) -> int:
        """Parse the arguments `words`, run the command and return its exit status. The name is for the help page."""
        if not self.flags:
            return int(_imported(self.function)(words))
        from zoo.cli.parsing import parse

        kind = _imported(self.flags)
        if not self.loads:
            return int(_imported(self.function)(parse(kind if isinstance(kind, type) else kind(words), name, words)))
        from zoo.artefacts import identities
        from zoo.artefacts.trust import throughout
        from zoo.cli.trust import keys_before_parsing, policy_before_parsing, with_trust

        with throughout(policy_before_parsing(words)), identities.throughout(keys_before_parsing(words)):
            flags = parse(with_trust(kind if isinstance(kind, type) else kind(words)), name, words)
            with throughout(flags.trust.policy):
                return int(_imported(self.function)(flags.command))


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class CommandGroup:
    """A group of commands that start with the same word, such as `zoo data`."""

    name: str  # the first word
    commands: Mapping[str, Command]  # by their second word

    def run(self, words: list[str]) -> int:
        """Run a command of the group with the arguments after the group's name, and return its exit status."""
        if not words or words[0] in ("-h", "--help"):
            width = max(map(len, self.commands)) + 3
            lines = "\n".join(f"  {name:{width}}{command.summary}" for name, command in self.commands.items())
            print(f"usage: zoo {self.name} COMMAND […]\n\ncommands:\n{lines}\n")
            print(f'Run "zoo {self.name} COMMAND --help" for the flags of a command.')
            return 0 if words else 2
        if words[0] not in self.commands:
            known = ", ".join(self.commands)
            raise InputError(f"zoo {self.name}: unknown command {words[0]!r}; expected one of: {known}. See: zoo {self.name} --help")
        return self.commands[words[0]].run(f"{self.name} {words[0]}", words[1:])
