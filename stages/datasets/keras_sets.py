"""The sets of keras.datasets: from a file, from a copy that is kept, or by Keras' own download.

MNIST: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", 2017.
CIFAR-10, CIFAR-100: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from stages.artifacts.atomic import replacing
from stages.datasets import cache, npz
from stages.datasets.base import Part, Split, required_path
from stages.errors import DataError
from stages.settings import Data

FINE_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
"""Of CIFAR-100, in the order of the alphabet, which is the order of the labels."""

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": tuple(FINE_CLASSES.split()),
}


def class_names(settings: Data) -> tuple[str, ...]:
    """What the labels of the set called `data.name` mean."""
    return CLASSES[settings.name]


def read(settings: Data, part: Part) -> Split:
    """The training or the test images: uint8 (N, 28, 28, 1) or (N, 32, 32, 3)."""
    return npz.read_part(_file(settings), part, settings.max_unpacked_mib)


def _file(settings: Data) -> Path:
    """data.path, else the copy that is kept, else that copy after Keras has fetched the set."""
    if settings.path is not None:
        return required_path(settings)
    if settings.name == "mnist":  # the only one that Keras itself keeps as an .npz
        kept = _keras_home() / "datasets" / "mnist.npz"
    else:
        kept = cache.folder() / f"{settings.name}.npz"
    if not kept.exists():
        _download(settings.name, kept)
    return kept


def _keras_home() -> Path:
    """Where Keras keeps its files (as keras/src/backend/config.py says, not imported)."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home)
    return (Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")) / ".keras"


def _download(name: str, kept: Path) -> None:
    """Let Keras fetch the set; the one edge from the data sets to Keras, taken at most once."""
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when the address does not answer
        raise DataError(
            f"{name} is not at {kept}, and Keras cannot download it ({error})",
            f"save it as {name}.npz on a machine with network (arrays {', '.join(npz.ARRAYS)}), "
            f"then: --set data.path={name}.npz",
        ) from error
    if not kept.exists():
        with replacing(kept) as draft:
            np.savez(draft, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
