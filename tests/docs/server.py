"""Server that runs commands of the zoo in forked processes, which start with torch imported: a page has many short commands.

It reads one JSON object per line from standard input (`words`, `folder`, `output`) and answers with the exit status.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

_HEAVY = (
    "sklearn.datasets",
    "torchmetrics",
    "zoo.compilation.compile",
    "zoo.evaluation.evaluate",
    "zoo.prediction.predict",
    "zoo.training.train",
)


def run(words: list[str], folder: str, output: str) -> int:
    """Run `zoo` with these words in a folder; both streams go to one file. Return the exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.chdir(folder)
        sys.path[0] = folder
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.argv = ["zoo", *words]
        from zoo.cli.main import main

        status = main()
    except SystemExit as end:  # tyro's --help and mistakes in flags
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Import what commands need, then answer requests until standard input ends."""
    from zoo.task.contract import TASKS

    TASKS.names()
    for module in _HEAVY:
        import_module(module)
    answers = os.fdopen(os.dup(1), "w")
    for request in sys.stdin:
        answers.write(f"{run(**json.loads(request))}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
