"""timm's ResNet, as its own examples run it: eager float32, with the pictures' memory as it comes or channels last."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from zoo.benchmarks.peers.race import Work

_NORM_PICTURES = 32  # that the statistics of the normalisation come from
_BRANCH = 0.25  # the weight of a block's branch: at 1 a random network multiplies the rounding of int8 until nothing is left
_RIDGE = 0.1  # as a part of the features' variance


def random_network(name: str, pixels: Tensor) -> nn.Module:
    """Return a network of random weights that tells these pictures apart: picture k is of class k.

    Fresh weights answer nearly the same for every picture, and so does a network that computes them wrongly. Here the normalisation
    has the pictures' statistics, and the last layer is fitted to their features (ridge regression): a wrong answer is another class.

    Args:
        name: timm's.
        pixels: [B, 3, H, W], normalised.
    """
    import timm

    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=1000, zero_init_last=False)
    settle_norms(network, pixels[:_NORM_PICTURES])
    with torch.no_grad():
        features: Tensor = network.forward_head(network.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
        mean = features.mean(0)
        gram = (features - mean) @ (features - mean).T
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        weight = torch.linalg.solve(gram + ridge, 10 * torch.eye(len(gram))) @ (features - mean)
        layer = network.get_submodule("fc")
        assert isinstance(layer, nn.Linear)
        layer.weight.zero_()[: len(gram)] = weight
        layer.bias.zero_()[: len(gram)] = -weight @ mean
    return network


def settle_norms(network: nn.Module, pixels: Tensor) -> None:
    """Give batch normalisation the statistics of these pictures; the network is in evaluation mode afterwards.

    Args:
        network: a ResNet of timm or torchvision, of fresh weights.
        pixels: [B, 3, H, W], normalised.
    """
    for module in network.modules():
        if hasattr(module, "downsample"):
            last = module.bn3 if hasattr(module, "bn3") else module.bn2
            nn.init.constant_(last.weight, _BRANCH)  # type: ignore[union-attr, arg-type]
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches, of which there is one
    network.train()
    with torch.no_grad():
        network(pixels)
    network.eval().requires_grad_(False)


def eager(network: nn.Module, pixels: Tensor) -> Work:
    """Return the call of a network as it is."""

    def work() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(pixels)
            return logits

    return work


def channels_last(network: nn.Module, pixels: Tensor) -> Work:
    """Return the call of a network in the other memory layout."""
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return eager(moved, pixels.contiguous(memory_format=torch.channels_last))
