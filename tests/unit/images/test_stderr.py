from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from zoo.images import stderr


def test_lines_are_caught_and_standard_error_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr.caught() as lines:
        os.write(2, b"libpng error: bad\n\nCorrupt JPEG data: 3 bytes\n")
    os.write(2, b"after\n")
    assert lines == ["libpng error: bad", "Corrupt JPEG data: 3 bytes"]
    assert capfd.readouterr().err == "after\n"


def test_standard_error_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="inside"), stderr.caught():
        raise RuntimeError("inside")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_other_threads_lines_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with stderr.caught():
        os.write(2, b"libpng error: ours\nepoch 3\n")
    done.set()
    thread.join()
    assert capfd.readouterr().err == "epoch 3\n"


def test_a_bar_that_is_drawn_meanwhile_stays_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with stderr.caught():
        os.write(2, b"Corrupt JPEG data: 3 bytes\n\r\x1b[2Kpredicting 3/9")
    done.set()
    thread.join()
    assert capfd.readouterr().err == "\r\x1b[2Kpredicting 3/9"


def test_more_than_the_pipe_holds_does_not_block() -> None:
    with stderr.caught() as lines:
        for _ in range(3000):
            try:
                os.write(2, b"x" * 99 + b"\n")
            except BlockingIOError:
                break
    assert 0 < len(lines) < 3000


_FORKED = """
import os
from zoo.images import stderr
with stderr.caught():
    os.write(2, b"parent")
child = os.fork()
with stderr.caught() as lines:
    os.write(2, b"child" if child == 0 else b"parent")
assert lines == (["child"] if child == 0 else ["parent"]), lines
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""

_WITHOUT_STDERR = """
import os
from zoo.images import stderr
for descriptor in closed:
    os.close(descriptor)
with stderr.caught() as lines:
    os.write(2, b"hidden")
assert lines == ["hidden"], lines
os.write(2, b"to nowhere")
with stderr.caught() as lines:
    os.write(2, b"again")
assert lines == ["again"], lines
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("program", [_FORKED, "closed = (2,)" + _WITHOUT_STDERR, "closed = (0, 2)" + _WITHOUT_STDERR])
def test_in_another_process(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
