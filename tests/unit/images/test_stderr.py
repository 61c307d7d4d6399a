from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ImageError
from zoo.images import decoding, stderr


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


def test_any_number_of_lines_is_caught() -> None:
    with stderr.caught() as lines:
        for _ in range(3000):
            os.write(2, b"x" * 99 + b"\n")
    assert lines == ["x" * 99] * 3000
    with stderr.caught() as lines:
        pass
    assert lines == []


def test_a_tiff_with_many_messages_does_not_hide_the_damage_of_later_ones() -> None:
    """When the messages were caught in a pipe that was full, the C++ stream of OpenCV's log stayed silent for the rest of the process."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "TIFF", compression="tiff_adobe_deflate")
    whole = file.getvalue()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    order = {b"II": "<", b"MM": ">"}[whole[:2]]
    (start,) = struct.unpack_from(f"{order}I", whole, 4)
    (count,) = struct.unpack_from(f"{order}H", whole, start)
    entries = whole[start + 2 : start + 2 + 12 * count]
    unknown = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, 7) for tag in range(50_000, 52_000))
    talking = whole[:4] + struct.pack(f"{order}I", len(whole)) + whole[8:]
    talking += struct.pack(f"{order}H", count + 2_000) + entries + unknown + bytes(4)
    for _ in range(2):
        with pytest.raises(ImageError, match="is damaged"):
            decoding.decode(bytes(damaged), "damaged")
        decoding.decode(talking, "talking")


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
