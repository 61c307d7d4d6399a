"""The server as a service: the files shown in docs/serving.md, and the memory of the server's own process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return PAGE.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_unit_is_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't installed")
    unit = tmp_path / "zoo-serve.service"
    unit.write_text(block("ini").replace("/opt/zoo/bin/zoo", sys.executable), encoding="utf-8")
    found = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60)
    about = [line for line in found.stderr.splitlines() if "zoo-serve" in line]
    assert not about, found.stderr


def test_the_compose_file_has_a_token_and_a_health_check() -> None:
    service = yaml.safe_load(block("yaml"))["services"]["zoo"]
    assert "--token-file /run/secrets/zoo-token" in service["command"]
    assert "/readyz" in service["healthcheck"]["test"][-1]


def test_the_process_of_the_server_does_not_import_torch() -> None:
    pytest.importorskip("fastapi")
    program = """import sys, zoo.serving.server
from zoo.cli.serve import services
from zoo.serving.services import service_class
print([service_class(name).actions.keys() for name in services().values()])
sys.exit('torch' in sys.modules)"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
