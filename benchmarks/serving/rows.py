"""The rows of the table: each starts its servers, loads them, and returns figures beside their bounds."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from zoo.benchmarks.serving.client import single_requests
from zoo.benchmarks.serving.figures import Figure, drift, largest_difference, outage
from zoo.benchmarks.serving.inprocess import InProcess
from zoo.benchmarks.serving.load import ANSWERS, REFUSED, Load, Sending, percentile
from zoo.benchmarks.serving.servers import Server, lit_server, zoo_server
from zoo.benchmarks.serving.setting import Setting

T = TypeVar("T")
_BATCH = 8  # the default of `zoo serve` for images of 224 pixels on a CPU
_WORKERS = 2
_QUEUE = 8  # pictures, in the row about overload
_PREDICT, _LIT_WORKERS = "zoo predict", f"LitServe with {_WORKERS} workers"
_OPEN_CLIENTS = 64  # connections of a load that doesn't wait for answers
_PAUSE_S = 0.02  # between two looks at a server's state


def throughput(setting: Setting) -> list[Figure]:
    """Pictures per second of the server, beside `zoo predict` and beside LitServe, in turn; and of both servers with two workers."""
    scale, model, rates = setting.scale, setting.model, list[dict[str, float]]()
    with ExitStack() as stack:
        alone = stack.enter_context(InProcess(model))
        ours = {"zoo serve": zoo_server(model)}
        theirs = {"LitServe": lit_server(model, _BATCH, setting.precision)}
        if scale.several_workers:
            ours[f"zoo serve --workers {_WORKERS}"] = zoo_server(model, "--workers", str(_WORKERS))
            theirs[_LIT_WORKERS] = lit_server(model, _BATCH, setting.precision, _WORKERS)
        sides: dict[str, Callable[[], float]] = {_PREDICT: lambda: alone.rate(setting.photos, scale.seconds)}
        sides |= {name: partial(_rate, setting, stack.enter_context(server)) for name, server in ours.items()}
        for name, server in theirs.items():
            started = stack.enter_context(server)
            started.pause()
            sides[name] = partial(_rate_of_paused, setting, started)
        for turn in range(-1, scale.rounds):  # the first round is a warm-up
            order = list(sides) if turn % 2 else [*reversed(sides)]
            found = {name: sides[name]() for name in order}
            rates += [found] if turn >= 0 else []
            setting.say(f"round {turn + 1}: " + _shown(found))
    return throughput_figures(rates, scale.clients)


def throughput_figures(rates: Sequence[dict[str, float]], clients: int) -> list[Figure]:
    """Return the figures of several rounds, each of which has the pictures per second of all sides by name."""
    share = 100 * statistics.median(found["zoo serve"] / found[_PREDICT] for found in rates)
    times = statistics.median(found["zoo serve"] / found["LitServe"] for found in rates)
    note = "medians: " + _shown({name: statistics.median(found[name] for found in rates) for name in rates[0]})
    return [
        Figure(f"HTTP, {clients} clients, beside zoo predict", share, 90, "% of its pictures per second", least=True, note=note),
        Figure("the same beside LitServe", times, 1.3, "times its pictures per second", least=True),
    ]


def overhead(setting: Setting) -> list[Figure]:
    """Time of a request of a single client, which isn't Locust, beside decoding and calling the model in the process, in turn."""
    scale, pairs = setting.scale, list[tuple[float, float]]()
    with InProcess(setting.model) as alone, zoo_server(setting.model) as server:
        alone.single(setting.files, scale.seconds / 5)
        for turn in range(scale.rounds):
            inside = percentile(alone.single(setting.files, scale.seconds / 2), 50)
            times = single_requests(server.url, server.path, server.field, setting.files, scale.seconds)
            pairs.append((percentile(times, 50), inside))
            setting.say(f"round {turn + 1}: a request takes {pairs[-1][0]:.2f} ms, the model with decoding {inside:.2f} ms")
    request, inside = (statistics.median(column) for column in zip(*pairs, strict=True))
    value = statistics.median(request - inside for request, inside in pairs)
    note = f"p50 of a request {request:.2f} ms, of decoding and the model {inside:.2f} ms"
    return [Figure("overhead at one client, p50", value, 2.0, "ms", note=note)]


def batching(setting: Setting) -> list[Figure]:
    """95th percentile at half of the capacity, with dynamic batching and without, in turn."""
    scale, pairs = setting.scale, list[tuple[float, float]]()
    with zoo_server(setting.model) as batched, zoo_server(setting.model, "--max-batch", "1") as single:
        rate = _rate(setting, batched) / 2
        for turn in range(scale.rounds):
            sides = (batched, single) if turn % 2 else (single, batched)
            found = {}
            for side in sides:
                load = setting.send(side.plan(setting.files, _OPEN_CLIENTS, 2 * scale.seconds, rate))
                found[side.url] = percentile(load.milliseconds(warm_s=scale.warm_s), 95)
            pairs.append((found[batched.url], found[single.url]))
            setting.say(f"round {turn + 1}: p95 {pairs[-1][0]:.1f} ms, with --max-batch 1 {pairs[-1][1]:.1f} ms, at {rate:.1f}/s")
    ours, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    note = f"p95 {ours:.1f} ms, without batching {other:.1f} ms, at {rate:.1f}/s"
    value = statistics.median(one / two for one, two in pairs)
    return [Figure("dynamic batching at half load, p95 beside --max-batch 1", value, 1.2, "times as long", note=note)]


def overload(setting: Setting) -> list[Figure]:
    """Five times the capacity: every request is answered, refusals are quick, and accepted requests aren't much slower than at 0.8.

    The default queue holds at least 16 pictures, for as many clients that can wait. Latency under overload needs a shorter one.
    """
    scale = setting.scale
    with zoo_server(setting.model, "--queue", str(_QUEUE)) as server:
        capacity = _rate(setting, server, _QUEUE)
        setting.say(f"the capacity is {capacity:.1f} pictures per second with --queue {_QUEUE} and as many clients")
        # twice as many connections as requests per second, since accepted ones may take longer than the mean time between two of a client
        clients = min(800, max(_OPEN_CLIENTS, round(10 * capacity)))
        flood = setting.send(server.plan(setting.files, clients, scale.overload_s, 5 * capacity))
        usual_rate = 0.8 * flood.rate(scale.warm_s)  # of the longer measurement, in which the server never waited
        usual = setting.send(server.plan(setting.files, _OPEN_CLIENTS, max(scale.overload_s / 2, scale.seconds), usual_rate))
        before = percentile(usual.milliseconds(warm_s=scale.warm_s), 99)
        setting.say(f"p99 at {usual_rate:.1f} pictures per second, 0.8 of the capacity during the overload: {before:.0f} ms")
    return overload_figures(flood, before, scale.warm_s, capacity)


def overload_figures(flood: Load, before_ms: float, warm_s: float, capacity: float) -> list[Figure]:
    """Return the figures of a load of five times the capacity.

    Args:
        flood: the requests.
        before_ms: 99th percentile of the accepted requests at 0.8 of the capacity, in milliseconds.
        warm_s: seconds at the beginning that count only for the answers.
        capacity: pictures per second.
    """
    share = 100 * (flood.begun - flood.unanswered) / flood.begun
    sent = f"{flood.begun / flood.wall_s:.0f} requests per second ({flood.begun / flood.wall_s / capacity:.1f} × the capacity)"
    accepted = percentile(flood.milliseconds(warm_s=warm_s), 99)
    figures = [
        Figure(
            f"5 × capacity, --queue {_QUEUE}: answered", share, 100, "%", least=True, note=f"{sent}, answers by status: {flood.statuses}"
        )
    ]
    if any(flood.statuses.get(status) for status in REFUSED):
        refused = flood.milliseconds(REFUSED, warm_s)
        note = f"p50 {percentile(refused, 50):.1f} ms, largest {max(refused):.0f} ms"
        figures.append(Figure("refusals, p99", percentile(refused, 99), 50, "ms", note=note))
    note = f"p99 {accepted:.0f} ms, at 0.8 of the capacity {before_ms:.0f} ms"
    return [*figures, Figure("accepted requests, p99 beside 0.8 load", accepted / before_ms, 2.0, "times as long", note=note)]


def memory(setting: Setting) -> list[Figure]:
    """Resident memory of the server and its worker during many requests, with a small model and small photos."""
    scale = setting.scale
    with zoo_server(setting.tiny) as server:
        sending = Sending(server.plan(setting.small_files, scale.clients, 3600, requests=scale.requests))
        with _polled(lambda: server.resident_mib(workers=1), 0.5) as sizes:
            load = setting.sent(_result(sending))
        sizes.append((time.monotonic(), server.resident_mib(workers=1)))
    first, change = drift(sizes, load, scale.warm_requests)
    note = f"{first:.0f} MiB after {scale.warm_requests} requests, {load.rate():.0f} per second"
    what = f"resident memory during {scale.requests:,} requests"
    return [Figure(what, 100 * change, 5, "% change", note=note), _answered("the same: requests without an answer", load)]


def kill(setting: Setting) -> list[Figure]:
    """`kill -9` of the worker at half of the capacity."""
    scale, times, lost = setting.scale, list[tuple[float, float]](), list[Load]()
    with zoo_server(setting.model) as server:
        rate = _rate(setting, server) / 2
        for turn in range(scale.rounds):
            _await_spare(server)
            sending = Sending(server.plan(setting.files, _OPEN_CLIENTS, scale.kill_s, rate))
            with _polled(server.ready, _PAUSE_S) as states:
                time.sleep(scale.kill_s / 5)
                killed = time.monotonic()
                server.workers()[0].kill()
                lost.append(setting.sent(_result(sending)))
            times.append(outage(states, killed))
            setting.say(f"round {turn + 1}: not ready after {times[-1][0]:.2f} s, ready after {times[-1][1]:.2f} s, {lost[-1].statuses}")
    gone, back = (max(column) for column in zip(*times, strict=True))
    return [
        Figure("kill -9 of a worker under load: not ready within", gone, 1, "s"),
        Figure("the same: ready again within", back, 10, "s"),
        *(_answered(f"the same: requests without an answer, round {turn + 1}", load) for turn, load in enumerate(lost)),
    ]


def answers(setting: Setting) -> list[Figure]:
    """Answers beside those of `zoo predict`, for several numbers of clients and therefore batch sizes."""
    largest, count = 0.0, 0
    with InProcess(setting.model) as alone, zoo_server(setting.model) as server:
        expected = {Path(found["key"]).name: found for found in map(json.loads, alone.texts(setting.photos))}
        for clients in (1, 3, setting.scale.clients):
            requests = 2 * len(setting.files)
            load = setting.send(server.plan(setting.files, clients, 600, requests=requests, keep=True))
            largest = max(largest, largest_difference(load.answers, expected))
            count += sum(map(len, load.answers.values()))
        mean = _mean_batch(server)
    note = f"{count} answers, mean size of the batches {mean:.1f}"
    return [Figure("answers beside zoo predict, largest difference", largest, 1e-5, "", note=note)]


ROWS: dict[str, Callable[[Setting], list[Figure]]] = {
    row.__name__: row for row in (throughput, overhead, batching, overload, memory, kill, answers)
}


def _shown(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:.1f}/s" for name, rate in rates.items())


def _rate(setting: Setting, server: Server, clients: int | None = None) -> float:
    """Return the pictures per second of clients that send one after the other; None means those of the scale."""
    scale = setting.scale
    return setting.send(server.plan(setting.files, clients or scale.clients, scale.seconds)).rate(scale.warm_s)


def _rate_of_paused(setting: Setting, server: Server) -> float:
    with server.resumed():
        return _rate(setting, server)


def _answered(what: str, load: Load) -> Figure:
    expected = ", ".join(map(str, ANSWERS))
    return Figure(what, load.unanswered, 0, "requests", note=f"answers by status: {load.statuses}; expected {expected}")


def _result(sending: Sending) -> Load:
    try:
        return sending.result()
    finally:
        sending.stop()


@contextmanager
def _polled(look: Callable[[], T], pause_s: float) -> Iterator[list[tuple[float, T]]]:
    """Call a function again and again in a thread; the list receives pairs of time.monotonic() before the call and its result."""
    found, over = list[tuple[float, T]](), threading.Event()

    def run() -> None:
        while not over.wait(pause_s):
            moment = time.monotonic()
            found.append((moment, look()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _await_spare(server: Server) -> None:
    """Wait until the server has a spare worker process that has imported its modules."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if len(workers := server.workers()) > 1 and workers[-1].cpu_percent(0.5) < 5:
            return
        time.sleep(0.1)


def _mean_batch(server: Server) -> float:
    """Return the mean size of the batches in which pictures were computed."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line.startswith("zoo_batch_size_"))
    return float(lines["zoo_batch_size_sum"]) / float(lines["zoo_batch_size_count"])
