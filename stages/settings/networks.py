"""The names that `model.name` takes: a wrong one is found before anything starts."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from stages.errors import nearest

NETWORKS = (
    *("ds_cnn", "lenet", "mnist_cnn", "resnet8", "resnet20", "three_block_cnn"),
    *("vgg16_transfer", "unet"),
)
"""Networks of our own; each has its row in stages/models."""

APPLICATIONS = (
    *(f"ConvNeXt{size}" for size in ("Base", "Large", "Small", "Tiny", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "L", "M", "S")),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile"),
    *(f"ResNet{depth}{version}" for depth in (50, 101, 152) for version in ("", "V2")),
    *("VGG16", "VGG19", "Xception"),
)
"""Architectures of keras.applications."""


def known_network(name: str) -> str:
    """`name` itself. Raises PydanticCustomError with the nearest known name for another."""
    known = (*NETWORKS, *APPLICATIONS)
    if name in known:
        return name
    near = nearest(name, known)
    others = f"{', '.join(NETWORKS)}, or a name of keras.applications as MobileNetV2"
    # Read after "expected": see pipeline/config.py.
    raise PydanticCustomError("network", f"{near!r}?" if near else others)
