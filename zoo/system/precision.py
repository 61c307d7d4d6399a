"""Names of numeric precisions."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16", "fp16"]  # of PyTorch
EnginePrecision = Literal["fp32", "bf16", "int8"]  # of an engine
AskedPrecision = Literal["auto", "fp32", "bf16", "int8"]  # as passed to `zoo.compile`
