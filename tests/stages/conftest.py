"""What the tests of several stages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.graphs import write_converted, write_tflite


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the convert stage leaves it, for engines; not to be written to."""
    folder: Path = tmp_path_factory.mktemp("convert")
    write_converted(folder)
    write_tflite(folder)
    return folder
