"""The examples in the docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["zoo.registry", "zoo.backbones", "zoo.task", "zoo.model", "zoo.benchmarks.timing"])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
