"""Functions shared by the command lines of the benchmarks."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from rich.console import Console, RenderableType

from zoo.errors import ZooError

P = ParamSpec("P")
T = TypeVar("T")


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Create an argument parser for `python -m zoo.benchmarks.NAME` with the flag --json."""
    parser = argparse.ArgumentParser(prog=f"python -m zoo.benchmarks.{name}", description=description)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on standard output, and nothing else")
    return parser


def prints_errors(name: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Return a decorator for commands, which prints a `ZooError` as "NAME: message" and returns the error's exit status."""

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except ZooError as error:
                log(f"{name}: {error}")
                return error.exit_status

        return run

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
