"""The names of ImageNet's 1000 classes, and their synsets, which are the names of ImageNet's folders."""

from __future__ import annotations

import functools
from collections import Counter

from timm.data import ImageNetInfo
from torchvision.models import ResNet50_Weights


@functools.cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return the synsets of the classes, as WordNet ids ("n01440764", …), in the order of a classifier's outputs."""
    return tuple(ImageNetInfo("imagenet-1k").label_names())


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the class names of torchvision's weights. If two classes have the same name, their synsets are appended."""
    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({synset})" for name, synset in zip(names, imagenet_synsets(), strict=True))
