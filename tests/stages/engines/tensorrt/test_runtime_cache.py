from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.engines.base import BuildRequest
from stages.engines.modules import load
from stages.engines.tensorrt import runtime_cache
from stages.engines.tensorrt.runtime_cache import RuntimeCache
from tests.stages.graphs import SIGNATURE, images

KERNELS = bytes(range(256)) * 4


class Cache:
    """As TensorRT-RTX documents its own, which only an engine on a GPU can create."""

    def __init__(self, fits: bool) -> None:
        self.fits, self.content = fits, b""

    def deserialize(self, blob: bytes) -> bool:
        self.content = blob if self.fits else b""
        return self.fits

    def serialize(self) -> Any:
        return memoryview(self.content or KERNELS)


def opened(engine: Path, fits: bool = True) -> tuple[RuntimeCache, Cache]:
    """The cache of an engine that two contexts were created from, and what they compile into."""
    made: list[Cache] = []
    used: list[Cache] = []

    def create() -> Cache:
        made.append(Cache(fits))
        return made[-1]

    cache = RuntimeCache(engine)
    for _ in range(2):
        cache.use_in(SimpleNamespace(create_runtime_cache=create, set_runtime_cache=used.append))
    assert used == [made[0], made[0]]
    return cache, made[0]


def test_what_was_compiled_is_there_at_the_next_opening(tmp_path: Path) -> None:
    cache, compiled = opened(tmp_path / "engine.rtx")
    assert compiled.content == b""
    cache.keep()
    assert opened(tmp_path / "engine.rtx")[1].content == KERNELS


def test_a_file_that_fits_stays_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path / "engine.rtx")[0].keep()
    file = tmp_path / "engine.rtx.kernels"
    before = file.read_bytes()
    cache, compiled = opened(tmp_path / "engine.rtx")
    compiled.content += b"one kernel more"
    cache.keep()
    assert file.read_bytes() == before


def test_a_file_of_another_gpu_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "engine.rtx.kernels"
    runtime_cache.write(file, b"of another GPU")
    opened(tmp_path / "engine.rtx", fits=False)[0].keep()
    assert runtime_cache.read(file) == KERNELS


@given(position=st.integers(0, 31 + len(KERNELS)), change=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_counts_as_none(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int, cut: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.kernels"
    runtime_cache.write(file, KERNELS)
    whole = bytearray(file.read_bytes())
    whole[position] ^= change
    file.write_bytes(whole[:position] if cut else whole)
    assert runtime_cache.read(file) is None


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    cache, _ = opened(tmp_path / "nowhere" / "engine.rtx")
    cache.keep()
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_was_never_opened_leaves_no_file(tmp_path: Path) -> None:
    RuntimeCache(tmp_path / "engine.rtx").keep()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_an_engine_leaves_its_kernels_beside_it_and_answers_the_same_with_them(
    graphs: Path, tmp_path: Path
) -> None:
    rtx = load("tensorrt_rtx")
    blocker = rtx.build_blocker() or rtx.run_blocker()
    if blocker is not None:
        pytest.skip(blocker.reason)
    file = tmp_path / "engine.rtx"
    rtx.build(graphs / "model.fp32.onnx", file, BuildRequest(SIGNATURE, "fp32", 8))
    answers, kept = [], []
    for _ in range(2):
        with rtx.Runner(file, SIGNATURE) as engine:
            answers.append(engine.infer(SIGNATURE.feed(images(4))).tolist())
        kept.append((tmp_path / "engine.rtx.kernels").read_bytes())
    assert answers[0] == answers[1]
    assert kept[0] == kept[1]
