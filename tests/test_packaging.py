"""What a wheel says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from email import message_from_string

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metadata")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    code = "from setuptools.build_meta import *; print(prepare_metadata_for_build_wheel('out'))"
    (folder / "out").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True)
    (file,) = (folder / "out").glob("*.dist-info/METADATA")
    return message_from_string(file.read_text())


def test_the_license_is_named_and_its_text_comes_along(metadata):
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )


def test_the_classifiers_name_the_pythons_that_it_runs_on(metadata):
    named = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier")]
    first, end = sorted(map(int, re.findall(r"3\.(\d+)", metadata["Requires-Python"])))
    assert [each for each in named if each.startswith("3.")] == [
        f"3.{minor}" for minor in range(first, end)
    ]


def test_no_address_is_invented(metadata):
    assert metadata["Home-page"] is None
    assert metadata["Project-URL"] is None
