from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.results import evidence
from stages.errors import ArtifactError
from tests.pipeline.records import changed, records, report_of
from tests.pipeline.report import several_run
from tests.pipeline.report.full_run import full_report, write_arrays


def test_the_arrays_of_the_benchmark_are_read(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    found = evidence.read(full_report(), tmp_path)
    assert found.latency["litert.int8.b1.t1"].shape == (500,)
    assert found.changed["labels"].tolist() == [1, 1, 1, 0]
    assert found.faults == ()


def test_a_run_that_left_no_arrays_has_no_faults(tmp_path: Path) -> None:
    for artifacts in (tmp_path, None):
        assert evidence.read(full_report(), artifacts) == evidence.Evidence()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_broken_file_is_named_with_the_command_that_makes_it_anew(
    content: bytes, tmp_path: Path
) -> None:
    write_arrays(tmp_path)
    (tmp_path / "benchmark" / "latency.npz").write_bytes(content)
    found = evidence.read(full_report(), tmp_path)
    assert found.latency == {}
    assert found.changed
    (fault,) = found.faults
    assert fault.startswith("latency.npz")
    assert "pipeline run benchmark --force" in fault


def test_answers_that_lack_an_array_are_a_fault_too(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    np.savez(tmp_path / "benchmark" / "answers.npz", task=np.array("binary"))
    found = evidence.read(full_report(), tmp_path)
    assert found.answers is None
    (fault,) = found.faults
    assert fault.startswith(
        "answers.npz of the benchmark cannot be read (it has no array 'engine')"
    )


def test_what_is_about_one_of_several_outputs_is_told_apart(tmp_path: Path) -> None:
    found = several_run.arrays(tmp_path)
    assert found.of("") is found
    assert (found.answers, found.changed, found.faults) == (None, {}, ())
    assert found.of("kind").changed["after"].tolist() == [2, 2, 2, 0]
    assert found.of("kind").answers is None
    for name in ("size", "Size"):
        kept = found.of(name).answers
        assert kept is not None
        np.testing.assert_array_equal(kept.after, several_run.ANSWERS[name].after)
    assert found.of("another") == evidence.Evidence()


def test_arrays_of_an_outdated_benchmark_are_not_shown(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    report = report_of(changed(records(), "train"))
    assert evidence.read(report, tmp_path) == evidence.Evidence()


@pytest.mark.parametrize(("place", "bit"), [(8, 0x01), (8, 0x40), (10, 0x63)])
def test_an_archive_whose_header_was_damaged_is_an_error_that_its_reader_can_act_on(
    tmp_path: Path, place: int, bit: int
) -> None:
    """The flags (a password, strong encryption) and the compression of its directory."""
    file = tmp_path / "latency.npz"
    np.savez(file, a=np.zeros(3))
    raw = bytearray(file.read_bytes())
    raw[raw.rindex(b"PK\1\2") + place] ^= bit
    raw[raw.index(b"PK\3\4") + place - 2] ^= bit
    file.write_bytes(raw)
    with pytest.raises(ArtifactError):
        evidence.load(file)
