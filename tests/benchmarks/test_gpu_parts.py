"""Networks in parts and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu_parts

LARGEST = 10_000


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    """Two networks, of which one needs several parts; and what is no network."""
    folder = tmp_path / "networks"
    for name, size in (("large", 35_000), ("small", 10)):
        (folder / name / "convert").mkdir(parents=True)
        (folder / name / "convert" / "signature.json").write_text("{}")
        (folder / name / "convert" / "model.fp32.onnx").write_bytes(os.urandom(size))
    (folder / "large" / "train").mkdir()
    (folder / "large" / "train" / "model.keras").write_bytes(os.urandom(50_000))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = folder.glob("*/convert/*")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_networks_come_out_as_they_went_in(networks: Path, tmp_path: Path) -> None:
    parts = gpu_parts.split(networks, tmp_path / "parts", LARGEST)
    assert [file.name for file in parts] == [
        f"networks.part{n:02}" for n in range(1, len(parts) + 1)
    ]
    assert len(parts) >= 4
    assert all(file.stat().st_size <= LARGEST for file in parts)
    assert gpu_parts.join(tmp_path / "parts", tmp_path / "out") == ["large", "small"]
    assert contents(tmp_path / "out") == contents(networks)
    assert not (tmp_path / "out" / "large" / "train").exists()


def test_parts_of_an_earlier_split_are_gone(networks: Path, tmp_path: Path) -> None:
    gpu_parts.split(networks, tmp_path / "parts", LARGEST)
    assert len(gpu_parts.split(networks, tmp_path / "parts")) == 1
    assert len(list((tmp_path / "parts").glob("networks.part*"))) == 1


def test_what_is_missing_or_damaged_is_named_and_nothing_is_unpacked(
    networks: Path, tmp_path: Path
) -> None:
    parts = gpu_parts.split(networks, tmp_path / "parts", LARGEST)
    parts[0].unlink()
    damaged = bytearray(parts[2].read_bytes())
    damaged[100] ^= 1
    parts[2].write_bytes(damaged)
    with pytest.raises(ValueError, match=r"part01 is missing, networks\.part03 is damaged: send"):
        gpu_parts.join(tmp_path / "parts", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    words = [sys.executable, gpu_parts.__file__, "join", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"gpu_parts.py: there is no {tmp_path / 'SHA256SUMS'}: send it along with the parts\n"
    )
    with pytest.raises(ValueError, match="holds no networks"):
        gpu_parts.split(tmp_path, tmp_path / "parts")
