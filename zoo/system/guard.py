"""Check that a script that starts worker processes has a main guard: processes started by "spawn" or "forkserver" import it again."""

from __future__ import annotations

import ast
import inspect
import multiprocessing
import sys
from pathlib import Path
from types import ModuleType

from zoo.errors import InputError

_GUARD = """'if __name__ == "__main__":'"""


def check_main_guard(method: str | None = None) -> None:
    """Check that the main script can be imported by worker processes without running again.

    Args:
        method: start method of the processes; None for the default of `multiprocessing`.

    Raises:
        InputError: the caller was reached from a line of the main script without a guard, or the script has no file.
    """
    method = method or multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    main = sys.modules["__main__"]
    file, line = getattr(main, "__file__", None), _line_in(main)
    # multiprocessing doesn't import these again: notebooks and `python -c`, packages run with -m, and IPython
    spec = getattr(main, "__spec__", None)
    if method == "fork" or not file or line is None or (spec and spec.name.endswith("__main__")) or Path(file).stem == "ipython":
        return
    why = f"worker processes (start method {method}) import the main script again"
    if file == "<stdin>":
        raise InputError(f"{why}, which is impossible from standard input. Save the script in a file, under {_GUARD}; or set workers to 0")
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, ValueError, SyntaxError):  # a program without its source code
        return
    if not any(_guards(node, line) for node in ast.walk(tree)):
        raise InputError(f"{file} line {line}: {why}, and would run this line again. Put it under {_GUARD}; or set workers to 0")


def _line_in(module: ModuleType) -> int | None:
    """Return the line of a module's top level from which this function was reached; None if there is none."""
    found, frame = None, inspect.currentframe()
    while frame is not None:
        if frame.f_globals is vars(module) and frame.f_code.co_name == "<module>":
            found = frame.f_lineno
        frame = frame.f_back
    return found


def _guards(node: ast.AST, line: int) -> bool:
    if not isinstance(node, ast.If) or not node.lineno <= line <= (node.end_lineno or line):
        return False
    return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
