"""Command lines of the benchmarks: flags, output of results, and calls that are timed or run in a new process."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from rich.console import Console, RenderableType
from rich.table import Table

from zoo.errors import ZooError
from zoo.system.console import print_anything

P = ParamSpec("P")
T = TypeVar("T")
Flags = argparse.Namespace
Flag = tuple[str, dict[str, Any]]  # name, and the keyword arguments of `ArgumentParser.add_argument`


def flag(name: str, **options: Any) -> Flag:
    """Define a flag for `benchmark`; `options` are those of `ArgumentParser.add_argument`."""
    return name, options


def count_flag(name: str, default: int | None, least: int, most: int, help: str) -> Flag:
    """Define a flag for a whole number from `least` to `most`."""
    return flag(name, type=int, default=default, choices=range(least, most + 1), metavar="N", help=help)


def data_flag(content: str) -> Flag:
    """Define the flag --data for the folder that contains `content`."""
    return flag("--data", type=Path, default=Path("../shared/data"), help=f"folder that contains {content}")


def threads_flag(help: str = "number of torch threads") -> Flag:
    """Define the flag --threads; the default is the number of processors."""
    return flag("--threads", type=int, default=os.cpu_count() or 1, help=help)


def benchmark(*flags: Flag) -> Callable[[Callable[[Flags], int]], Callable[..., int]]:
    """Return a decorator that turns a function of parsed flags into the main function of `python -m zoo.benchmarks.NAME`.

    NAME and the help text are the name and the docstring of the function's module. The main function takes the command-line arguments, by
    default those in `sys.argv`. Every benchmark has the flag --json. A `ZooError` is printed as "NAME: message", and its exit status is
    returned.
    """

    def decorate(run: Callable[[Flags], int]) -> Callable[..., int]:
        module = sys.modules[run.__module__]
        assert module.__spec__ is not None, "a benchmark is run with python -m"
        name = module.__spec__.name.split(".")[2]
        parser = argparse.ArgumentParser(prog=f"python -m zoo.benchmarks.{name}", description=module.__doc__)
        parser.add_argument("--json", action="store_true", help="print only the result, as a single JSON object, to standard output")
        for each, options in flags:
            parser.add_argument(each, **options)

        @functools.wraps(run)
        def main(argv: Sequence[str] | None = None) -> int:
            print_anything()
            words = parser.parse_args(argv)
            try:
                return run(words)
            except ZooError as error:
                log(f"{name}: {error}")
                return error.exit_status

        return main

    return decorate


def report(as_json: bool, content: Mapping[str, object], *shown: RenderableType, met: bool = True, width: int | None = None) -> int:
    """Print a result and the load average, as JSON or as tables and lines; return the exit status, 0 if the targets are met, else 1."""
    load = os.getloadavg()[0]
    if as_json:
        print(json.dumps({**content, "load": load}))
    else:
        console = Console(highlight=False, soft_wrap=True, width=width)
        for each in (*shown, f"the load average is {load:.1f}; other processes slow down a benchmark"):
            console.print(each)
    return 0 if met else 1


def make_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> Table:
    """Create a table with a left-aligned title."""
    table = Table(*headings, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def log(text: str) -> None:
    """Print a message on standard error, so that it doesn't mix with JSON output."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Return a context manager that sets the number of torch threads and restores it at the end."""
    import torch  # not all benchmarks need torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_new_process(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module-level function in a new process, so that its peak memory is measured alone and its caches are empty."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *args, **kwargs).result()


def timed(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """Call a function; return its result and its wall-clock duration in seconds."""
    start = time.perf_counter()
    result = call(*args, **kwargs)
    return result, time.perf_counter() - start
