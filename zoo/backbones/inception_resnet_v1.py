"""facenet-pytorch's InceptionResnetV1, with the trained weights of that library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo.backbones import BACKBONES, RESEARCH, UNKNOWN, Backbone, BackboneDefinition, Features, Level, Licence
from zoo.images.preprocess import Preprocess
from zoo.kernels.overrides import Activate, fusible

NAME = "inception_resnet_v1"
# modules of the stem and of each stage, in forward order
_STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a")
_STAGES = (("conv2d_3b", "conv2d_4a"), ("conv2d_4b", "repeat_1"), ("mixed_6a", "repeat_2"), ("mixed_7a", "repeat_3", "block8"))
_HEAD = ("avgpool_1a", "dropout", "last_linear", "last_bn")


class InceptionResnetV1(Backbone):
    """facenet-pytorch's network without the layers that turn its last feature map into an embedding.

    The architecture is that of Szegedy et al. 2016 (arXiv 1602.07261), section 3.2, in the variant of David Sandberg's facenet. In this
    variant, the convolutions of stride 2, and all but one of the stem's convolutions, are unpadded.
    """

    # field: 3, 7 and 11 pixels in the stem, plus twice the current stride for every unpadded 3×3 window of the stages
    levels = (Level("c2", 192, 4, 19), Level("c3", 256, 8, 27), Level("c4", 896, 16, 43), Level("c5", 1792, 32, 75))

    def __init__(self) -> None:
        from facenet_pytorch import InceptionResnetV1 as Original  # slow, because it also imports a face detector

        super().__init__()
        self.net = Original()
        for name in _HEAD:
            delattr(self.net, name)

    def forward(self, images: Tensor) -> Features:
        """Return the outputs of the four stages, at strides 4 to 32."""
        for module in self.stages()[0]:
            images = module(images)
        return self.from_stem(images)

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Return the modules of the stem, followed by each stage."""
        return [[self.net.get_submodule(name) for name in names] for names in (_STEM, *_STAGES)]


@fusible("facenet_pytorch.models.inception_resnet_v1.BasicConv2d", {nn.BatchNorm2d: ("bn",), nn.ReLU: ("relu",)})
def _convolution(block: Any, x: Tensor, activate: Activate) -> Tensor:
    return activate(block.bn, block.conv(x))


def _preprocess() -> Preprocess:
    """Return facenet-pytorch's normalisation (x − 127.5) / 128, converted to inputs in 0–1."""
    return Preprocess(policy="squash", size_hw=(160, 160), mean=(0.5, 0.5, 0.5), std=(128 / 255, 128 / 255, 128 / 255))


def _load_weights(name: str) -> tuple[Mapping[str, Any], Preprocess]:
    """Fetch weights with facenet-pytorch's loader, which stores them in torch's cache."""
    from facenet_pytorch import InceptionResnetV1 as Original

    return Original(pretrained=name).state_dict(), _preprocess()


# facenet-pytorch's licence (MIT) covers its code; its authors state none for the weights. The list of VGGFace2's images was published
# under CC BY-SA 4.0, which can't cover the photos themselves; copies of it state CC BY-NC 4.0. The zoo assumes the narrower terms.
_TERMS = {
    "vggface2": (
        RESEARCH,
        "facenet-pytorch states no licence; assumed from the training data, VGGFace2, which are copyrighted photos",
    ),
    "casia-webface": (UNKNOWN, "facenet-pytorch states no licence for these weights, which were trained on CASIA-WebFace"),
}


def _licence(name: str) -> Licence:
    licence, note = _TERMS[name]
    return Licence(name, licence, "https://github.com/timesler/facenet-pytorch", note)


BACKBONES.add(
    NAME,
    BackboneDefinition(
        name=NAME,
        family="facenet-pytorch",
        create=InceptionResnetV1,
        preprocess=_preprocess,
        weights=lambda: ("vggface2", "casia-webface"),
        load_weights=_load_weights,
        licence=_licence,
        options={"face": {"neck": "facenet", "embedding_size": 512, "image_size": 160, "alignment": "facenet", "dropout": 0.6}},
    ),
)
