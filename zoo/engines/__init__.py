"""Registry of engines, the interface that every engine implements, and the networks that engines run."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.registry import Registry
from zoo.system.logs import errors_alone
from zoo.system.precision import EnginePrecision
from zoo.system.wording import reason

Tensors = tuple[Tensor, ...]
Runner = Callable[..., Tensors]


@dataclass(frozen=True)
class Network:
    """A part of a model that maps tensors to tensors.

    Attributes:
        name: "pictures" for backbone and head, which take images [B, 3, H, W], float32 in 0–1; otherwise a name in `Head.networks`.
        module: the module, float32, on the CPU, in evaluation mode; returns a tuple of tensors.
        example: an example of each input, with a length of at least 2 along every dynamic axis.
        free: dynamic axes of each input: those whose length may differ from the example's.
    """

    name: str
    module: nn.Module
    example: Tensors
    free: tuple[tuple[int, ...], ...]

    def exported(self) -> torch.export.ExportedProgram:
        """Return the graph that torch.export traces.

        Raises:
            InputError: an operation of the module can't be traced.
        """
        module = copy.deepcopy(self.module).to(memory_format=torch.contiguous_format)  # other memory formats are lost in saving
        free = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in self.free)
        try:
            with torch.no_grad(), errors_alone("torch.fx.experimental.symbolic_shapes"):  # logs inequalities that it can't reduce
                return torch.export.export(module, self.example, dynamic_shapes=free)
        except Exception as error:  # torch.export raises anything; here all of it is a defect of the network
            raise InputError(f"the network {self.name!r} can't be exported ({reason(error)}); use engine='eager'") from error


@dataclass(frozen=True)
class Judge:
    """Scorer of a candidate for one network of a model, the model's other networks being unchanged.

    Attributes:
        pictures: number of images that it can score on.
        drop: largest allowed drop of the score.
        score: function that takes the candidate's runner and the indices of images, and returns the score on these.
    """

    pictures: int
    drop: float
    score: Callable[[Runner, Sequence[int]], float]


class Engine(ABC):
    """Base class of engines, which run the networks of a model.

    Attributes:
        name: the name that `zoo.compile(…, engine=name)` takes.
        package: Python package that the engine imports.
        extra: extra of resnet-zoo that installs the engine.
        distributions: distributions whose versions affect the converted network, in addition to torch.
        converts: whether converted networks are worth caching; False where conversion takes no time.
        seconds: approximate time to convert a network of the size of ResNet-50, in seconds on two cores.
        suffix: file suffix of written networks.
        precisions: supported precisions, on hardware that supports them.
        takes_bytes: whether its runners also take uint8 images and scale them to 0–1 as `as_float` does.
    """

    name: ClassVar[str]
    package: ClassVar[str] = "torch"
    extra: ClassVar[str] = ""
    distributions: ClassVar[tuple[str, ...]] = ()
    converts: ClassVar[bool] = True
    seconds: ClassVar[float] = 10.0
    suffix: ClassVar[str]
    precisions: ClassVar[tuple[EnginePrecision, ...]] = ("fp32", "bf16")
    takes_bytes: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        """Return a message that names the missing package and how to install it; None if it is installed."""
        if importlib.util.find_spec(cls.package) is not None:
            return None
        return f"the engine {cls.name} needs the package {cls.package}, which is not installed: pip install 'resnet-zoo[{cls.extra}]'"

    @abstractmethod
    def convert(self, network: Network) -> Any:
        """Convert a network to the engine's own form.

        Raises:
            InputError: the network can't be converted.
        """

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Return a network with 8-bit weights and activations where that is faster.

        Args:
            converted: the network, as returned by `convert`.
            samples: inputs to calibrate on.
            judge: scorer; layers stay unquantised as far as its score requires. None to quantise all layers.

        Raises:
            InputError: the engine doesn't support int8.
        """
        having = [name for name in ENGINES if "int8" in ENGINES[name].precisions]
        raise InputError(f"the engine {self.name} doesn't support int8; use one of: {', '.join(having)}")

    @abstractmethod
    def write(self, converted: Any, path: Path) -> None:
        """Write a network to a file whose name ends in `suffix`, and to files next to it that start with the same stem."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read a network back; errors are raised unchanged."""

    @abstractmethod
    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner, which computes the network on CPU tensors.

        Its outputs are valid until its next call. It is called by one thread at a time.
        """


ENGINES: Registry[type[Engine]] = Registry("engine", package="zoo.engines")


def list_engines() -> list[str]:
    """Return the names of the engines, installed or not.

    Example:
        >>> list_engines()
        ['eager', 'inductor', 'onnxruntime', 'openvino']
    """
    return ENGINES.names()


@contextmanager
def one_reason(engine: str, network: Network) -> Iterator[None]:
    """Convert any error of an engine into an `InputError` with a one-line reason."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # converters raise anything, from their own classes to RuntimeError
        raise InputError(
            f"the engine {engine} can't run the network {network.name!r} ({reason(error)}); use another engine, or 'auto'"
        ) from error


def or_else(run: Runner, otherwise: Callable[..., Tensors]) -> Runner:
    """Return a runner whose fallback, called with the error and the inputs, handles inputs that the engine has no kernels for."""

    def computed(*inputs: Tensor) -> Tensors:
        try:
            return run(*inputs)
        except Exception as error:  # engines raise anything, from AssertionError to their own classes
            return otherwise(error, *inputs)

    return computed


def quantise(
    graph: Any,
    samples: Sequence[Tensors],
    as_input: Callable[[Tensors], Any],
    judge: Judge | None,
    as_runner: Callable[[Any], Runner],
    spared: Sequence[str] = (),
) -> Any:
    """Quantise weights and activations of a graph to 8 bits with NNCF; activations asymmetrically.

    Args:
        graph: an OpenVINO or ONNX graph.
        samples: inputs to calibrate on.
        as_input: function that converts a sample to the input format of the graph's engine.
        judge: scorer, as in `Engine.quantise`.
        as_runner: function that converts what NNCF runs a graph with to a runner, for the judge.
        spared: names of operations that stay unquantised.

    Raises:
        InputError: NNCF isn't installed.
    """
    # NNCF draws progress bars on standard output
    with errors_alone("nncf", "torch.utils.cpp_extension"), contextlib.redirect_stdout(sys.stderr):
        try:
            import nncf
        except ImportError as error:
            raise InputError("int8 needs the package nncf, which is not installed: pip install 'resnet-zoo[openvino]'") from error
        calibration = nncf.Dataset([as_input(inputs) for inputs in samples])
        settings = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(samples), "ignored_scope": nncf.IgnoredScope(list(spared))}
        if judge is None:
            return nncf.quantize(graph, calibration, **settings)

        def judged(compiled: Any, numbers: Iterable[int]) -> float:
            return judge.score(as_runner(compiled), list(numbers))

        validation = nncf.Dataset(list(range(judge.pictures)))
        return nncf.quantize_with_accuracy_control(graph, calibration, validation, judged, max_drop=judge.drop, **settings)
