"""The table of data sets: a new one is one file of this package and one row here.

Plain data: `data.name` takes these names, and no data set is imported before it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["images", "signals", "volumes"]
PLACES: Mapping[Kind, tuple[str, ...]] = {
    "signals": ("length",),
    "images": ("height", "width"),
    "volumes": ("depth", "height", "width"),
}
"""What `data.kind` says: names of the axes between the samples and the channels."""

DATASETS: dict[str, str] = {
    "digits": "stages.datasets.digits",
    **dict.fromkeys(
        ("mnist", "fashion_mnist", "cifar10", "cifar100"), "stages.datasets.keras_sets"
    ),
    "npz": "stages.datasets.npz",
    "folder": "stages.datasets.folder",
    "masks": "stages.datasets.masks",
    "csv": "stages.datasets.csv_file",
    "source": "stages.datasets.own_function",
}
"""Name -> module: see stages/datasets/base.py."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "digits": ("scikit-learn", "pillow"),
    "folder": ("pillow",),
    "masks": ("pillow",),
    "csv": ("pillow",),
}
"""What a data set needs beside NumPy."""
