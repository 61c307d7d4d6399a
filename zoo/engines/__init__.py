"""The registry of engines: what computes the networks of a model, and what there is of a network."""

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
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.registry import Registry
from zoo.system.logs import errors_alone
from zoo.system.wording import reason

EnginePrecision = Literal["fp32", "bf16", "int8"]
AskedPrecision = Literal["auto", "fp32", "bf16", "int8"]
Tensors = tuple[Tensor, ...]
Runner = Callable[..., Tensors]


@dataclass(frozen=True)
class Network:
    """A part of a model that goes from tensors to tensors.

    Attributes:
        name: "pictures" for trunk and head, which take float32 0–1 [B, 3, H, W]; others as `Head.networks` has them.
        module: float32, on the CPU, in evaluation mode; answers a tuple of tensors.
        example: an input of each kind, at least two long along every free axis.
        free: of each input, the axes whose length may differ from the example's.
    """

    name: str
    module: nn.Module
    example: Tensors
    free: tuple[tuple[int, ...], ...]

    def exported(self) -> torch.export.ExportedProgram:
        """Return the graph, as torch.export sees it.

        Raises:
            InputError: there is an operation that it can't see through.
        """
        module = copy.deepcopy(self.module).to(memory_format=torch.contiguous_format)  # other layouts aren't saved as they are
        free = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in self.free)
        try:
            with torch.no_grad(), errors_alone("torch.fx.experimental.symbolic_shapes"):  # tells which inequalities it didn't reduce
                return torch.export.export(module, self.example, dynamic_shapes=free)
        except Exception as error:  # whatever it runs into: a defect of the network, seen from here
            raise InputError(f"the network {self.name!r} can't be exported ({reason(error)}); use engine='eager'") from error


@dataclass(frozen=True)
class Judge:
    """Scores a network that takes the place of one of a model's, on pictures that are known to it by number.

    Attributes:
        pictures: how many there are.
        drop: of the score, that is still allowed.
        score: of what computes the network, on the pictures with these numbers.
    """

    pictures: int
    drop: float
    score: Callable[[Runner, Sequence[int]], float]


class Engine(ABC):
    """Something that computes networks.

    Attributes:
        name: as in `zoo.compile(…, engine=name)`.
        package: what it is imported from.
        extra: of resnet-zoo, with which it is installed.
        distributions: whose versions decide what a converted network looks like, beside torch.
        converts: whether its own form of a network is worth keeping; others have it at once.
        seconds: that a network the size of ResNet-50's takes to convert, about, on two cores.
        suffix: of the files that it keeps networks in.
        precisions: those that it has, on hardware that has them.
        takes_bytes: whether what computes its networks takes pictures as uint8 too, for 0–1 as in `as_float`.
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
        """Say what is not installed, and how to install it; None where it is."""
        if importlib.util.find_spec(cls.package) is not None:
            return None
        return f"the engine {cls.name} needs the package {cls.package}, which is not installed: pip install 'resnet-zoo[{cls.extra}]'"

    @abstractmethod
    def convert(self, network: Network) -> Any:
        """Bring a network into the engine's own form.

        Raises:
            InputError: it can't be.
        """

    def quantise(self, converted: Any, samples: Sequence[Tensors], judge: Judge | None = None) -> Any:
        """Return a network with weights and activations of 8 bits where that is quicker.

        Args:
            converted: the network.
            samples: inputs that it is calibrated on.
            judge: leave as many layers as they were as the score needs; None to quantise all.

        Raises:
            InputError: the engine has no such networks.
        """
        having = [name for name in ENGINES if "int8" in ENGINES[name].precisions]
        raise InputError(f"the engine {self.name} has no int8; use one of: {', '.join(having)}")

    @abstractmethod
    def write(self, converted: Any, path: Path) -> None:
        """Keep a network in a file, whose name ends in `suffix`, and in files beside it that begin with its stem."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read a network back; whatever goes wrong is raised as it comes."""

    @abstractmethod
    def start(self, converted: Any, precision: EnginePrecision, threads: int) -> Runner:
        """Return what computes a network, on CPU tensors.

        What it returns is good until it is called again; it is called by one thread at a time.
        """


class TorchEngine(Engine):
    """An engine of torch's own, which takes modules as they are, and keeps them as torch.export's graphs."""

    converts = False
    suffix = ".pt2"

    def convert(self, network: Network) -> Network:
        """Take the network as it is."""
        return network

    def write(self, converted: Network, path: Path) -> None:
        """Export the graph."""
        torch.export.save(converted.exported(), path)

    def read(self, path: Path) -> nn.Module:
        """Read the graph; what it asserts of types is left out, because in bf16 autocast changes them."""
        with errors_alone("torch.export"):  # it logs the traceback of what it raises
            module: Any = torch.export.load(path).module()
        for node in list(module.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default)):
            module.graph.erase_node(node)
        module.recompile()
        found: nn.Module = module
        return found


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
    """Tell what an engine's converter ran into as a fault of the request.

    Raises:
        InputError: with its first line.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # converters raise anything, from their own classes to RuntimeError
        raise InputError(
            f"the engine {engine} can't take over the network {network.name!r} ({reason(error)}); use another engine, or 'auto'"
        ) from error


def or_else(run: Runner, otherwise: Callable[..., Tensors]) -> Runner:
    """Return what computes a network, or does something else with inputs that its engine has no kernels for.

    Args:
        run: of the engine, which may raise anything.
        otherwise: takes the error, and the inputs.
    """

    def computed(*inputs: Tensor) -> Tensors:
        try:
            return run(*inputs)
        except Exception as error:  # from AssertionError to classes of the engine's own
            return otherwise(error, *inputs)

    return computed


_LOUD = ("nncf", "torch.utils.cpp_extension")


def quantise(
    graph: Any,
    samples: Sequence[Tensors],
    as_input: Callable[[Tensors], Any],
    judge: Judge | None,
    as_runner: Callable[[Any], Runner],
    spared: Sequence[str] = (),
) -> Any:
    """Return a graph with weights and activations of 8 bits, activations asymmetrically.

    Args:
        graph: of OpenVINO or ONNX.
        samples: inputs that it is calibrated on.
        as_input: brings one into the form that the graph's engine takes.
        judge: layers are left as they were until it is content; None to quantise all.
        as_runner: brings what NNCF runs a graph by into the form that the judge takes.
        spared: names of operations that are left as they are.

    Raises:
        InputError: NNCF isn't installed, or no set of layers makes the judge content.
    """
    with errors_alone(*_LOUD), contextlib.redirect_stdout(sys.stderr):  # whose progress bars would be on standard output
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
