"""Finished cases are stored at once, and an interrupted benchmark continues."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import zoo
from tests.benchmark_reports import CASE, MEASUREMENT, write_suite
from zoo.benchmarks.harness import bench as harness
from zoo.benchmarks.harness import results
from zoo.benchmarks.harness.bench import bench
from zoo.benchmarks.harness.child import case_report
from zoo.benchmarks.harness.report import CaseReport, Report
from zoo.benchmarks.harness.suite import Case
from zoo.benchmarks.reporting.page import command_of
from zoo.cli.main import main
from zoo.system import files
from zoo.system.disk import StorageError

SUITE = "".join(CASE.replace('"a"', f'"{name}"') for name in "abcd")


class Child:
    """Stands in for `run_in_child`: appends the name of each case to a file; "c" may fail, and `stop` is called before "c" finishes."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.error: str | None = None
        self.stop: Callable[[], object] = str
        self.log.touch()

    def __call__(self, case: Case) -> CaseReport:
        if case.name == "c":
            self.stop()
        with self.log.open("a") as file:
            file.write(case.name)
        if case.name == "c" and self.error:
            return case_report(case, 1.0, error=self.error)
        return case_report(case, 1.0, MEASUREMENT)

    @property
    def names(self) -> str:
        return self.log.read_text()


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    found = Child(tmp_path / "log.txt")
    monkeypatch.setattr(harness, "run_in_child", found)
    return found


def test_the_same_command_repeats_nothing(tmp_path: Path, child: Child, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_suite(tmp_path, SUITE), tmp_path / "out"
    first = bench(path, out=out)
    again = bench(path, out=out)
    assert (child.names, again.cases) == ("abcd", first.cases)
    assert "4/4 d: ok, measured before and stored in" in capsys.readouterr().err
    child.error = "broken"
    assert [case.status for case in bench(path, out=out, fresh=True, quiet=True).cases] == ["ok", "ok", "failed", "ok"]
    assert child.names == "abcdabcd"
    assert bench(path, out=out, quiet=True).cases == first.cases, "the failure has not replaced the stored figures"


@pytest.mark.skipif(os.name == "nt", reason="Windows can't fork")
def test_a_killed_benchmark_continues(tmp_path: Path, child: Child) -> None:
    path, out = write_suite(tmp_path, SUITE), tmp_path / "out"
    child.stop = lambda: os.kill(os.getpid(), signal.SIGKILL)
    process = multiprocessing.get_context("fork").Process(target=bench, args=(path,), kwargs={"out": out, "quiet": True})
    process.start()
    process.join()
    assert (process.exitcode, child.names) == (-signal.SIGKILL, "ab")
    child.stop = str
    report = bench(path, out=out, quiet=True)
    assert child.names == "abcd"
    assert [(case.name, case.status) for case in report.cases] == [(name, "ok") for name in "abcd"]


def test_a_report_names_the_command_of_each_case(tmp_path: Path, child: Child) -> None:
    path, out = write_suite(tmp_path, SUITE), tmp_path / "out"
    report = bench(path, out=out, only=["b"], engine="eager", timeout="2m", seeds=2, quiet=True)
    assert report.arguments == {"suite": str(path), "engine": "eager", "timeout": 120.0, "seeds": 2}
    assert command_of(report, report.cases[1]) == f"zoo bench {path} --only b@1 --engine eager --timeout 120.0 --seeds 2"
    assert main([*shlex.split(command_of(report, report.cases[1]))[1:], "--out", str(out), "--json"]) == 0
    assert child.names == "b@0b@1", "that case is stored"


def test_ctrl_c_names_what_is_stored(tmp_path: Path, child: Child, capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    child.stop = stop
    with pytest.raises(KeyboardInterrupt):
        bench(write_suite(tmp_path, SUITE), out=tmp_path / "out")
    assert "2 of 4 cases are stored in" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "cases").iterdir())) == 2


def test_a_changed_case_and_a_failed_one_run_again(tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write_suite(tmp_path, SUITE), tmp_path / "out"
    child.error = "broken"
    assert [case.status for case in bench(path, out=out, quiet=True).cases] == ["ok", "ok", "failed", "ok"]
    child.error = None
    # what is expected isn't measured
    changed = SUITE.replace('name = "b"', 'name = "b"\nexpect = { top1 = 0.99 }').replace('name = "d"', 'name = "d"\nbatch_size = 8')
    report = bench(write_suite(tmp_path, changed), out=out, quiet=True)
    assert child.names == "abcd" + "cd"
    assert [case.status for case in report.cases] == ["ok", "regression", "ok", "ok"]
    monkeypatch.setattr(results, "code_fingerprint", lambda: "other code")
    bench(path, out=out, cases=["a"], quiet=True)
    monkeypatch.setattr(harness, "describe_machine", lambda: {"cpu": "another", "cores": 1})
    bench(path, out=out, cases=["a"], quiet=True)
    assert child.names == "abcdcd" + "aa"


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"version": 1}', None])
def test_a_damaged_result_is_measured_again(tmp_path: Path, child: Child, damage: str | None) -> None:
    path, out = write_suite(tmp_path, CASE), tmp_path / "out"
    bench(path, out=out, quiet=True)
    (file,) = (out / "cases").iterdir()
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "version": 99}) if damage is None else damage)
    bench(path, out=out, quiet=True)
    assert child.names == "aa"
    assert json.loads(file.read_text()) == content


def test_cases_after_the_budget_are_skipped_and_run_by_the_next_command(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, now = write_suite(tmp_path, SUITE), tmp_path / "out", [0.0]
    monkeypatch.setattr("zoo.benchmarks.harness.bench.time.perf_counter", lambda: now[0])

    def run(case: Case) -> CaseReport:
        now[0] += 40
        return child(case)

    monkeypatch.setattr(harness, "run_in_child", run)
    first = bench(path, out=out, budget="1m")
    assert [case.status for case in first.cases] == ["ok", "ok", "skipped", "skipped"]
    assert first.ok
    assert "3/4 c: skipped: the budget was used before this case began" in capsys.readouterr().err
    second = bench(path, out=out, budget="1m", quiet=True)
    assert (child.names, [case.status for case in second.cases]) == ("abcd", ["ok"] * 4)


def test_a_full_disk_is_named_and_the_figures_are_printed(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, write_text = write_suite(tmp_path, SUITE), tmp_path / "out", files.write_text

    def full(path: Path, text: str) -> None:
        if path.name.startswith("b-"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_text(path, text)

    monkeypatch.setattr(results, "write_text", full)
    with pytest.raises(StorageError, match=r"b-.*\.json: can't be written \(No space left.* run the same command again"):
        bench(path, out=out)
    assert "0.9875" in capsys.readouterr().out
    assert child.names == "ab"
    monkeypatch.undo()
    monkeypatch.setattr(harness, "run_in_child", child)
    assert bench(path, out=out, quiet=True).ok
    assert child.names == "ab" + "bcd"


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    case = Case("a", "classification", "resnet20", f"folder:{folder}?split=test", weights="default", calibration=str(tmp_path / "c"))
    absent = results.data_stamps(case)
    assert absent[str(folder)] == "absent"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(b"1")
    present = results.data_stamps(case)
    (folder / "cat" / "1.png").write_bytes(b"12")
    changed = results.data_stamps(case)
    (folder / "cat" / "broken").symlink_to(tmp_path / "nowhere")
    assert len({json.dumps(each) for each in (absent, present, changed, results.data_stamps(case))}) == 4
    csv = folder / "list.csv"
    csv.touch()
    by_option = replace(case, test=f"csv:{folder}?file=list.csv", train={"head": f"folder:{folder}"})
    assert str(csv) in results.data_stamps(by_option)


def test_the_commit_is_known_only_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "zoo" / "__init__.py"
    monkeypatch.setattr(zoo, "__file__", str(package))
    results.commit.cache_clear()
    assert results.commit() is None
    (tmp_path / ".git").mkdir()  # damaged
    results.commit.cache_clear()
    assert results.commit() is None
    results.commit.cache_clear()
    package.parent.mkdir()
    results.code_fingerprint.cache_clear()
    before = results.code_fingerprint()
    package.write_text("changed = True\n")
    results.code_fingerprint.cache_clear()
    assert results.code_fingerprint() != before
    results.code_fingerprint.cache_clear()
    shutil.rmtree(package.parent)


def test_a_report_names_its_code(tmp_path: Path, child: Child) -> None:
    report = bench(write_suite(tmp_path, CASE), out=tmp_path / "out", quiet=True)
    assert report.code["fingerprint"] == results.code_fingerprint()
    assert Report.read(tmp_path / "out" / "report.json").code == report.code
