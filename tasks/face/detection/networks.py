"""The three networks of MTCNN, with the trained weights from the facenet-pytorch package, optimised for CPUs.

If a compiler is available, a C++ kernel (`PReLUStack`) computes the convolutions; otherwise torch computes them. torch writes the output of
every layer to memory, which takes two to four times as long as the arithmetic of small networks.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.kernels.library import address, library, sizes, threads

_MIDDLE, _SPREAD = 127.5, 128  # offset and divisor of the pixel normalisation
_FILLED = 16  # the kernel's channels are padded to a multiple of this


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "bias", "slope")),
        *((name, ctypes.c_int64) for name in ("kernel", "in_channels", "out_channels", "pool", "step")),
    )


class PReLUStack(nn.Module):
    """Convolutions, PReLUs and max poolings fused into one kernel for float32 inference on the CPU; all activations stay in the CPU cache.

    The source of the kernel is `zoo/kernels/prelu_networks.cpp`. Its pooling doesn't always propagate NaN.
    """

    def __init__(self, modules: Sequence[nn.Module], shift: float, scale: float) -> None:
        """Copy the weights of the modules. The input of the first is the pixels minus `shift`, times `scale`.

        The modules are convolutions (square kernels, bias, no padding, stride 1), each optionally followed by a PReLU (one slope per
        channel) and then by a max pooling (square windows, no padding, `ceil_mode=True`).
        """
        super().__init__()
        self._shift, self._scale = shift, scale
        self._layers: list[tuple[list[Tensor], list[int]]] = []
        for module in modules:
            unpooled = bool(self._layers) and self._layers[-1][1][3:] == [1, 1]
            if isinstance(module, nn.Conv2d) and _is_plain(module):
                self._layers.append(_convolution(module))
            elif isinstance(module, nn.PReLU) and unpooled and module.num_parameters == self._layers[-1][1][2]:
                self._layers[-1][0][2][: module.num_parameters] = module.weight.detach()
            elif isinstance(module, nn.MaxPool2d) and unpooled and _window(module):
                self._layers[-1][1][3:] = _window(module)
            else:
                raise ValueError(f"PReLUStack doesn't support {module}; use nn.Sequential")

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the output [B, C', H', W'], in channels-last memory format, for pixels [B, C, H, W]."""
        kernels = library("prelu_networks")
        assert kernels is not None
        pixels = pixels.to("cpu", torch.float32).contiguous()
        layers = (_Layer * len(self._layers))(*(_Layer(*map(address, numbers), *counts) for numbers, counts in self._layers))
        deep = sizes(len(layers))
        kernels.zoo_prelu_network_answers.restype = ctypes.c_int64
        height, width = (kernels.zoo_prelu_network_answers(*sizes(side), layers, *deep) for side in pixels.shape[2:])
        if pixels.shape[1] != layers[0].in_channels or min(height, width) < 1:
            raise ValueError(f"images of shape {tuple(pixels.shape)} have the wrong number of channels or are too small for this stack")
        answer = torch.empty(len(pixels), height, width, layers[-1].out_channels, dtype=torch.float32, device="cpu")
        given = address(pixels), *sizes(len(pixels), *pixels.shape[2:]), ctypes.c_float(self._shift), ctypes.c_float(self._scale)
        kernels.zoo_prelu_network(*given, layers, *deep, address(answer), threads())
        return answer.permute(0, 3, 1, 2)


def _convolution(module: nn.Conv2d) -> tuple[list[Tensor], list[int]]:
    """Return the padded weights, biases and slopes of a convolution, and its sizes in the order of the fields of `_Layer`."""
    assert module.bias is not None
    out, wide, side = module.out_channels, -(-module.out_channels // _FILLED) * _FILLED, int(module.kernel_size[0])
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    weights, bias = torch.zeros(side, side, module.in_channels, wide, **plain), torch.zeros(wide, **plain)
    weights[..., :out], bias[:out] = module.weight.detach().permute(2, 3, 1, 0), module.bias.detach()
    return [weights, bias, torch.ones(wide, **plain)], [side, module.in_channels, out, 1, 1]


def _is_plain(module: nn.Conv2d) -> bool:
    steps = (*module.stride, *module.dilation, module.groups)
    return module.bias is not None and module.padding == (0, 0) and len(set(module.kernel_size)) == 1 and set(steps) == {1}


def _window(pooling: nn.MaxPool2d) -> list[int]:
    """Return the window size and the stride of a pooling; an empty list if the kernel doesn't support it."""
    side, step = pooling.kernel_size, pooling.stride
    whole = isinstance(side, int) and isinstance(step, int) and step <= side
    return [side, step] if whole and pooling.ceil_mode and not pooling.padding and pooling.dilation == 1 else []  # type: ignore[list-item]


def _normalised(pixels: Tensor) -> Tensor:
    """Normalise pixels in 0–255 in place."""
    return pixels.sub_(_MIDDLE).mul_(1 / _SPREAD)


class FirstNetwork(nn.Module):
    """PNet, the first network of MTCNN, in torch. It classifies every cell of 12×12 pixels of an image, with a stride of 2.

    The values are those of facenet-pytorch's PNet, computed three to four times as fast. The memory format is channels last, the ten
    channels of the first layer are padded to whole registers, max pooling runs over rows and then over columns, and box regression is
    computed only for candidates.
    """

    def __init__(self, trained: Any) -> None:
        super().__init__()
        self._channels = trained.conv1.out_channels
        self.conv1, self.prelu1 = nn.Conv2d(3, 16, 3), nn.PReLU(16)
        with torch.no_grad():
            for filled, given in zip(self.parameters(), (*trained.conv1.parameters(), trained.prelu1.weight), strict=True):
                filled.zero_()[: self._channels] = given
        self.rest = nn.Sequential(trained.conv2, trained.prelu2, trained.conv3, trained.prelu3)
        last = trained.conv4_1
        self.register_buffer("_face", (last.weight[1] - last.weight[0]).detach().flatten())
        self.register_buffer("_face_bias", (last.bias[1] - last.bias[0]).detach())
        self.move = nn.Linear(last.in_channels, 4)
        self.move.load_state_dict({"weight": trained.conv4_2.weight.flatten(1), "bias": trained.conv4_2.bias})

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Classify every cell of an image [1, 3, H, W] with values in 0–255, which is overwritten.

        Returns the face logits [h, w], and the features [h, w, 32] from which `move` computes the box regression.
        """
        seen = self.prelu1(self.conv1(_normalised(pixels))).permute(0, 2, 3, 1)[0]
        pooled = _larger(_larger(seen, 0), 1, self._channels)
        features = self.rest(pooled.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        return features @ self._face + self._face_bias, features


def _larger(values: Tensor, dim: int, channels: int | None = None) -> Tensor:
    """Return the maxima of adjacent pairs along a dimension of the first channels of [H, W, C]. A last unpaired element is kept."""
    values = values[..., :channels]
    length = values.shape[dim]
    first, second = (values[(slice(None),) * dim + (slice(start, None, 2),)] for start in (0, 1))
    pairs = torch.maximum(first.narrow(dim, 0, length // 2), second)
    return pairs if length % 2 == 0 else torch.cat([pairs, first.narrow(dim, length // 2, 1)], dim)


class FirstKernels(nn.Module):
    """PNet as a single C++ kernel, four times as fast as `FirstNetwork`.

    Box regression is computed for all cells, because that costs less than storing their features.
    """

    def __init__(self, trained: Any) -> None:
        super().__init__()
        features, last = trained.conv4_1.in_channels, nn.Conv2d(trained.conv4_1.in_channels, 5, 1)
        face, move = trained.conv4_1, trained.conv4_2
        with torch.no_grad():
            last.weight.copy_(torch.cat([face.weight[1:] - face.weight[:1], move.weight]).view(5, features, 1, 1))
            torch.cat([face.bias[1:] - face.bias[:1], move.bias], out=last.bias)
        layers = (trained.conv1, trained.prelu1, trained.pool1, trained.conv2, trained.prelu2, trained.conv3, trained.prelu3, last)
        self._layers = PReLUStack(layers, _MIDDLE, 1 / _SPREAD)
        self.move = nn.Identity()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Classify every cell of an image [1, 3, H, W] with values in 0–255; return the logits [h, w] and the box regression [h, w, 4]."""
        answer = self._layers(pixels)[0].permute(1, 2, 0)
        return answer[..., 0], answer[..., 1:]


def _by_kernels(trained: Any) -> Any:
    """Replace the convolutions, PReLUs and poolings at the start of an RNet or ONet with a single kernel."""
    names = [name for name, module in trained.named_children() if isinstance(module, (nn.Conv2d, nn.MaxPool2d))]
    names += [f"prelu{name.removeprefix('conv')}" for name in names if name.startswith("conv")]
    order = [name for name, _ in trained.named_children() if name in names]
    stack = PReLUStack([getattr(trained, name) for name in order], _MIDDLE, 1 / _SPREAD)
    for name in order:
        setattr(trained, name, stack if name == order[0] else nn.Identity())
    return trained


@dataclass(frozen=True)
class Networks:
    """The networks of the cascade. The input of each network is pixels in 0–255."""

    # maps an image [1, 3, H, W] to the logits [h, w] and the features of its cells; see `FirstNetwork`
    first: FirstNetwork | FirstKernels
    second: nn.Module  # maps crops [B, 3, 24, 24] to box regression [B, 4] and probabilities [B, 2] (no face, face)
    # maps crops [B, 3, 48, 48] to box regression [B, 4], landmarks [B, 10] (five x, then five y) and probabilities [B, 2] (no face, face)
    third: nn.Module
    # fastest batch size of the second and third networks; it is smaller with torch's layers, so that activations stay in the cache
    at_once: int


@functools.cache
def networks() -> Networks:
    """Return the networks, which are loaded on the first call."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # slow import

    first, second, third = PNet(), RNet(), ONet()
    if library("prelu_networks") is not None:
        found = Networks(FirstKernels(first), _by_kernels(second), _by_kernels(third), 512)
    else:
        for network in (second, third):
            network.register_forward_pre_hook(lambda _, inputs: _normalised(*inputs))
        found = Networks(FirstNetwork(first), second, third, 64)
    for network in (found.first, found.second, found.third):
        network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return found
