"""The benchmark of the sampled margin head: what it measures, its output and its errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from zoo.benchmarks import partial_fc
from zoo.benchmarks.partial_fc import Comparison, HeadCost, Setting, compare, main, measure

SETTING = Setting(identities=2000, embedding_size=16, batch_size=8, sample_rate=0.1, steps=2, threads=1)
FULL = HeadCost("full", 0.8, 0.2, 3000.0, 4000.0)


@pytest.mark.usefixtures("forked_benchmarks")
def test_a_head_is_measured_in_a_new_process() -> None:
    comparison = compare(SETTING)
    for cost, name in ((comparison.full, "full"), (comparison.sampled, "sampled")):
        assert cost.name == name
        assert cost.loss_seconds > 0
        assert cost.optimizer_seconds > 0
        assert 0 < cost.loss_mib <= cost.peak_mib


def test_every_step_but_the_first_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def timed(call: object) -> tuple[None, float]:
        name = "pass" if isinstance(getattr(call, "__self__", None), torch.optim.Optimizer) else "loss"
        calls.append(name)
        call()  # type: ignore[operator]
        return None, float(len(calls))

    monkeypatch.setattr(partial_fc, "timed", timed)
    before = torch.get_num_threads()
    try:
        cost = measure("sampled", 0.1, replace(SETTING, steps=3))
    finally:
        torch.set_num_threads(before)
    assert len(calls) == 8
    assert (cost.loss_seconds, cost.optimizer_seconds) == (5.0, 6.0)  # of 3, 5, 7 and 4, 6, 8: the first two calls are not counted


@pytest.mark.parametrize(
    ("sampled", "ratios", "met"),
    [
        (HeadCost("sampled", 0.1, 0.1, 1000.0, 2500.0), (8.0, 5.0, 3.0, 1.6), True),
        (HeadCost("sampled", 0.4, 0.1, 1000.0, 2500.0), (2.0, 2.0, 3.0, 1.6), False),
        (HeadCost("sampled", 0.1, 0.1, 2000.0, 2000.0), (8.0, 5.0, 1.5, 2.0), False),
    ],
)
def test_what_is_promised_decides_the_exit_status(
    sampled: HeadCost, ratios: tuple[float, ...], met: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: list[Setting] = []

    def compared(setting: Setting) -> Comparison:
        settings.append(setting)
        return Comparison(FULL, sampled)

    monkeypatch.setattr(partial_fc, "compare", compared)
    assert main(["--json", "--identities", "5000", "--sample-rate", "0.2"]) == (0 if met else 1)
    content = json.loads(capsys.readouterr().out)
    assert (settings[0].identities, settings[0].sample_rate, settings[0].embedding_size) == (5000, 0.2, 128)
    assert [content[f"{name}_ratio"] for name in ("loss", "step", "memory", "peak")] == pytest.approx(list(ratios))
    assert content["met"] is met
    assert content["full"]["peak_mib"] == 4000
    assert main([]) == (0 if met else 1)
    printed = capsys.readouterr().out
    assert "1000000 identities × 128" in printed
    assert ("not met" in printed) is not met


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sample-rate", "1"], "sample_rate is 1.0; expected a value below 1"),
        (["--identities", "0"], "identities is 0; expected a number above 0"),
    ],
)
def test_what_can_not_be_measured(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert message in capsys.readouterr().err
