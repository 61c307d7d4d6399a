"""A compiled model that another thread drops takes no signal stack with it: the next Ctrl-C is one, not a segmentation fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zoo.engines import ENGINES

_PROGRAM = """
import faulthandler, gc, os, signal, threading
import zoo

{before}
model = zoo.build("resnet20", classes=["cat", "dog"])
kept = [zoo.compile(model, engine="openvino")]

def drop():
    kept.clear()
    gc.collect()

thread = threading.Thread(target=drop)
thread.start()
thread.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(ENGINES["openvino"].missing() is not None, reason=str(ENGINES["openvino"].missing()))
@pytest.mark.skipif(sys.platform != "linux", reason="the stack is Linux's")
@pytest.mark.parametrize("before", ["", "faulthandler.enable()"], ids=["no stack before", "one before"])
def test_a_signal_after_a_model_was_dropped_by_another_thread(before: str) -> None:
    program = _PROGRAM.format(before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
