from __future__ import annotations

import re
import sys

import pytest

from stages.engines.registry import ENGINES
from stages.errors import packages
from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_what_is_installed_is_not_missing() -> None:
    assert packages.missing(["numpy", "pillow", "ai-edge-litert", "no-such-package"]) == [
        "no-such-package"
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["keras"], "the package keras is not installed"),
        (["keras", "h5py"], "the packages keras, h5py are not installed"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(names: list[str], words: str) -> None:
    assert packages.not_installed(names) == words
    assert packages.install(names) == f"pip install {' '.join(names)}"


@pytest.mark.parametrize(
    "package", ["pillow", "scikit-learn", "ai-edge-litert", "numpy", "mysqlclient"]
)
def test_the_package_of_a_module_is_found_back(package: str) -> None:
    assert packages.providing(packages._module(package)) == package


@pytest.fixture(scope="module")
def extras() -> dict[str, set[str]]:
    """The extras of pyproject.toml with the packages that each lists."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        found = tomllib.load(stream)["project"]["optional-dependencies"]
    return {name: {re.split("[>;]", each)[0] for each in listed} for name, listed in found.items()}


def test_the_extra_train_is_what_training_needs(extras: dict[str, set[str]]) -> None:
    assert extras["train"] == set(packages.TRAINING)


def test_the_extra_of_an_engine_installs_what_it_needs(extras: dict[str, set[str]]) -> None:
    for row in ENGINES.values():
        assert {*row.packages, "pillow"} <= extras[row.extra]


def test_the_extra_for_older_drivers_installs_the_same_packages_for_cuda_12(
    extras: dict[str, set[str]],
) -> None:
    (for_cuda_12,) = extras["gpu-cu12"] - extras["gpu"]
    assert for_cuda_12 in packages.ALSO_AS["tensorrt"]
    assert extras["gpu"] - extras["gpu-cu12"] == {"tensorrt"}
