from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from stages.artifacts.file_lock import waiting
from stages.measurement.alone import FILE, alone_on_machine


def test_one_measurement_at_a_time_has_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what else is timed meanwhile
    file = tmp_path / FILE
    with alone_on_machine(), pytest.raises(BlockingIOError), waiting(file, blocking=False):
        pass
    with waiting(file, blocking=False):
        pass
