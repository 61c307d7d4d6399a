"""timm's ResNet, used as in its examples: eager float32, in the default memory format or channels last."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from zoo.benchmarks.peers.race import Work

_NORM_PICTURES = 32  # maximum number of images for the statistics of batch normalisation
_BRANCH = 0.25  # scale of each residual branch; with 1, a random network would amplify the rounding of int8 until its output is noise
_RIDGE = 0.1  # strength of the ridge regression, relative to the variance of the features


def random_network(name: str, pixels: Tensor) -> nn.Module:
    """Create a timm ResNet with random weights that predicts class k for image k of normalised pixels [B, 3, H, W].

    A newly initialised network predicts nearly the same for every image, so that errors in its computation could go unnoticed. Therefore,
    batch normalisation gets the statistics of the images, and the last layer is fitted to their features by ridge regression. An incorrect
    computation then changes the predicted class.
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
    """Set the batch normalisation of a new ResNet to the statistics of normalised pixels [B, 3, H, W]; switch to evaluation mode."""
    for module in network.modules():
        if hasattr(module, "downsample"):
            last = module.bn3 if hasattr(module, "bn3") else module.bn2
            nn.init.constant_(last.weight, _BRANCH)  # type: ignore[union-attr, arg-type]
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # use the statistics of the only batch, not a moving average
    network.train()
    with torch.no_grad():
        network(pixels)
    network.eval().requires_grad_(False)


def eager(network: nn.Module, pixels: Tensor) -> Work:
    """Return a function that runs the network in eager mode, in its current memory format."""
    return torch.inference_mode()(lambda: network(pixels))


def channels_last(network: nn.Module, pixels: Tensor) -> Work:
    """Return a function that runs a copy of the network in eager mode, in channels-last memory format."""
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)
    return eager(moved, pixels.contiguous(memory_format=torch.channels_last))
