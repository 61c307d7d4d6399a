"""Commands of two words, `zoo data check` or `zoo faces verify`: which there are, and the one line that says what each is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from zoo.errors import InputError


@dataclass(frozen=True)
class Verb:
    """One command of a group.

    Attributes:
        summary: of one line, for the group's help.
        module: where it is; imported when it is called.
        function: its name there: from its words to the exit status.
    """

    summary: str
    module: str
    function: str


@dataclass(frozen=True)
class CommandGroup:
    """The commands behind one first word.

    Attributes:
        name: the word.
        verbs: the second words.
    """

    name: str
    verbs: Mapping[str, Verb]

    @property
    def help(self) -> str:
        """What there is."""
        width = max(map(len, self.verbs)) + 3
        lines = [f"  {name:{width}}{verb.summary}" for name, verb in self.verbs.items()]
        return "\n".join(
            [f"usage: zoo {self.name} COMMAND […]", "", "commands:", *lines, "", f"zoo {self.name} COMMAND --help shows its flags."]
        )

    def run(self, words: list[str]) -> int:
        """Run one of the commands, and return its exit status.

        Args:
            words: those after the group's name.

        Raises:
            InputError: no such command.
        """
        if not words or words[0] in ("-h", "--help"):
            print(self.help)
            return 0 if words else 2
        if words[0] not in self.verbs:
            known = ", ".join(self.verbs)
            raise InputError(f"zoo {self.name}: unknown command {words[0]!r}; expected one of: {known}. See: zoo {self.name} --help")
        verb = self.verbs[words[0]]
        command: Callable[[list[str]], int] = getattr(import_module(verb.module), verb.function)
        return command(words[1:])
