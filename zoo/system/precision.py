"""Names of numeric precisions."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16", "fp16"]  # precision of PyTorch's computations
EnginePrecision = Literal["fp32", "bf16", "fp16", "int8"]  # precision of an engine's computations
AskedPrecision = Literal["auto", "fp32", "bf16", "fp16", "int8"]  # requested precision, as passed to `zoo.compile`
