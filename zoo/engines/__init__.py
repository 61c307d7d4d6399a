"""Registry of engines, the interface that every engine implements, and the class of networks that engines run."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config

from zoo.errors import InputError
from zoo.registry import Registry
from zoo.system.logs import errors_alone
from zoo.system.onnx_graph import Part
from zoo.system.precision import EnginePrecision
from zoo.system.telemetry import no_statistics
from zoo.system.wording import reason

_fx_config: Any = _config  # torch adds `patch` at import
Tensors = tuple[Tensor, ...]
Runner = Callable[..., Tensors]


@dataclass(frozen=True)
class Network:
    """A component of a model that maps tensors to tensors.

    Attributes:
        name: "pictures" for the network of backbone and head, "features" for the network of backbone and pooling, or a name in
            `Head.networks`. The input of the first two is images [B, 3, H, W], float32 in 0–1.
        module: module that computes the network: float32, on the CPU, in evaluation mode, with a tuple of tensors as output.
        example: an example of each input. Its length along every dynamic axis is at least 2.
        free: dynamic axes of each input. The length along these axes may differ from that of the example.
        in_memory: whether an engine must not write the network to a file, not even a temporary one, because the model is encrypted.
    """

    name: str
    module: nn.Module
    example: Tensors
    free: tuple[tuple[int, ...], ...]
    in_memory: bool = False

    def exported(self, *, length_one: bool = False) -> torch.export.ExportedProgram:
        """Trace the module with torch.export, and return the graph.

        By default, the graph has assertions that no dynamic axis, and no axis of a feature map that follows from one, has a length of 1.
        With `length_one`, it doesn't distinguish 1 from other lengths, so that it supports images with a last feature map of one pixel.

        Raises:
            InputError: an operation of the module can't be traced.
        """
        module = copy.deepcopy(self.module).to(memory_format=torch.contiguous_format)  # torch.export.save loses other formats
        free = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in self.free)
        try:
            quiet = errors_alone("torch.fx.experimental.symbolic_shapes")  # it logs inequalities that it can't reduce
            with torch.no_grad(), quiet, _fx_config.patch(backed_size_oblivious=length_one):
                return torch.export.export(module, self.example, dynamic_shapes=free)
        except Exception as error:  # torch.export raises errors of any class
            raise InputError(f"the network {self.name!r} can't be exported ({reason(error)}); use engine='eager'") from error


@dataclass(frozen=True)
class Judge:
    """Scorer of candidates for one network of a model. The model's other networks stay unchanged.

    Attributes:
        pictures: number of images that are available for scoring.
        drop: maximum allowed drop of the score.
        score: function that receives the runner of a candidate and the indices of images, and returns the score on these images.
    """

    pictures: int
    drop: float
    score: Callable[[Runner, Sequence[int]], float]


class Engine(ABC):
    """Base class of engines, which run the networks of a model.

    Attributes:
        name: name of the engine, as passed to `zoo.compile(…, engine=name)`.
        package: Python package that the engine imports.
        extra: name of the optional dependency group ("extra") of resnet-zoo that installs the engine.
        distributions: distributions whose versions affect converted networks, in addition to torch.
        converts: whether the engine converts networks. If so, converted networks are cached.
        seconds: approximate time in seconds that the conversion of a network of the size of ResNet-50 takes on two cores.
        suffix: file suffix of written networks.
        precisions: precisions that the engine supports, provided that the hardware supports them.
        takes_bytes: whether the engine's runners also accept uint8 images, which they scale to 0–1 as `as_float` does.
        in_memory: whether the engine needs no files, also temporary ones, for a network that is `in_memory`; encrypted models require it.
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
    in_memory: ClassVar[bool] = False

    @classmethod
    def missing(cls) -> str | None:
        """Return a message with the name of the missing package and the command that installs it; None if the package is installed."""
        if importlib.util.find_spec(cls.package) is not None:
            return None
        return f"the engine {cls.name} needs the package {cls.package}, which is not installed: pip install 'resnet-zoo[{cls.extra}]'"

    @abstractmethod
    def convert(self, network: Network) -> Any:
        """Convert a network to the engine's format.

        Raises:
            InputError: the network can't be converted.
        """

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Quantise the weights and activations of a network to 8 bits, in layers where this is faster.

        Args:
            converted: the network, as returned by `convert`.
            samples: inputs for calibration.
            judge: scorer of candidates. Layers stay unquantised if its maximum drop would otherwise be exceeded. None to quantise all
                layers without scoring.

        Returns:
            The quantised network.

        Raises:
            InputError: the engine doesn't support int8.
        """
        having = [name for name in ENGINES if "int8" in ENGINES[name].precisions]
        raise InputError(f"the engine {self.name} doesn't support int8; use one of: {', '.join(having)}")

    def halved(self, converted: Any, precision: EnginePrecision) -> Any:
        """Return a network with weights of 16 bits if the engine stores them so for this precision; by default, the network itself.

        Inputs and outputs stay float32.
        """
        return converted

    @abstractmethod
    def write(self, converted: Any, path: Path) -> None:
        """Write a network to a file whose name ends in `suffix`, and to further files next to it with the same stem."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read a network written by `write`. Errors are raised unchanged."""

    def read_contents(self, name: str, contents: Mapping[str, bytes | memoryview]) -> Any:
        """Read a network from the contents of the files that `write` has written, by file name; `name` is that of the first.

        Raises:
            InputError: the engine can only read files.
        """
        raise InputError(f"the engine {self.name} can't read the graphs of an encrypted model; {without_files()}")

    @abstractmethod
    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Return a runner, which is a function that computes the network on CPU tensors.

        The outputs of a runner are valid until its next call. Only one thread at a time calls it.
        """


class GraphEngine(Engine):
    """Base class of engines that can join several graphs into one, for exports with one graph."""

    @abstractmethod
    def from_onnx(self, graph: Any) -> Any:
        """Convert an ONNX graph, such as the steps between the networks of a model."""

    @abstractmethod
    def count_outputs(self, converted: Any) -> int:
        """Return the number of outputs of a converted network."""

    @abstractmethod
    def join(self, parts: Sequence[Part], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Join converted graphs, in order, into one with some of their inputs and outputs."""


ENGINES: Registry[type[Engine]] = Registry("engine", package="zoo.engines")


def list_engines() -> list[str]:
    """Return the names of all engines, including those that are not installed.

    Example:
        >>> list_engines()
        ['eager', 'inductor', 'onnxruntime', 'openvino']
    """
    return ENGINES.names()


def without_files() -> str:
    """Return which engines can run encrypted models, for messages."""
    return f"engines that need no files are {', '.join(name for name in ENGINES if ENGINES[name].in_memory)}"


@contextmanager
def one_reason(engine: str, network: Network) -> Iterator[None]:
    """Convert any error of an engine in the body into an `InputError` with a one-line reason."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # converters raise errors of any class
        raise InputError(
            f"the engine {engine} can't run the network {network.name!r} ({reason(error)}); use another engine, or 'auto'"
        ) from error


def or_else(run: Runner, otherwise: Callable[..., Tensors]) -> Runner:
    """Return a runner that calls `otherwise` with the error and the inputs if the engine fails, such as on shapes it has no kernels for."""

    def computed(*inputs: Tensor) -> Tensors:
        try:
            return run(*inputs)
        except Exception as error:  # engines raise errors of any class
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
    """Quantise an OpenVINO or ONNX graph to 8 bits with NNCF, as `Engine.quantise`. Activations are quantised asymmetrically.

    `as_input` converts a sample to the input format of the graph's engine, and `as_runner` a candidate, in the form in which NNCF passes
    it, to a runner for the judge. The operations named in `spared` stay unquantised. Raise an `InputError` if NNCF isn't installed.
    """
    # NNCF displays progress bars on standard output
    with no_statistics(), errors_alone("nncf", "torch.utils.cpp_extension"), contextlib.redirect_stdout(sys.stderr):
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
