"""Conversions send no usage statistics."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from zoo.engines import ENGINES, Network
from zoo.system.telemetry import no_statistics


class Telemetry:
    """Stand-in for the class of openvino_telemetry."""

    sent: ClassVar[list[str]] = []

    def send_event(self, *arguments: str) -> None:
        self.sent.append("event")

    def start_session(self, *arguments: str) -> None:
        self.sent.append("session")


def test_nothing_is_sent_in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", SimpleNamespace(Telemetry=Telemetry))
    with no_statistics():
        Telemetry().start_session("a")
        Telemetry().send_event("a", "b")
    assert Telemetry.sent == []
    Telemetry().send_event("a")
    assert Telemetry.sent == ["event"]


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    with no_statistics():
        pass


class Twice(torch.nn.Module):
    """A network that doubles its input."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (pixels * 2,)


def test_openvino_converts_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's own statistics would be sent by a process that it forks at every conversion."""
    pytest.importorskip("openvino")
    pytest.importorskip("openvino_telemetry")
    started: list[object] = []
    monkeypatch.setattr("multiprocessing.Process", lambda *arguments, **options: started.append(options))
    ENGINES["openvino"]().convert(Network("pictures", Twice(), (torch.rand(2, 3, 8, 8),), ((0,),)))
    assert started == []
