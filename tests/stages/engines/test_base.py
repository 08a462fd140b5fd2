"""What Engine checks for every backend: the arguments of callers, and whether it is open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.artifacts.signature import Head, Input, Signature, rows
from stages.engines.base import Engine, Images, Logits
from stages.engines.modules import load
from stages.engines.registry import ENGINES
from stages.errors import EngineError

PIXELS = Signature((8, 8, 1), ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)
CHECKED = ("open", "close", "infer", "infer_many", "_check", "_checked")


class Zeros(Engine):
    """An engine whose logits are zero."""

    def _open(self) -> None:
        pass

    def _infer(self, images: Images) -> Logits:
        return np.zeros((rows(images), len(self.signature.class_names)), np.float32)

    def _close(self) -> None:
        pass


def zeros(folder: Path, **changes: Any) -> Engine:
    file = folder / "zeros.bin"
    file.touch()
    return Zeros(file, dataclasses.replace(PIXELS, **changes))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An open engine that takes float32."""
    with zeros(tmp_path) as opened:
        yield opened


def batch(count: int) -> NDArray[np.float32]:
    return np.zeros((count, *PIXELS.input_shape), np.float32)


@pytest.mark.parametrize("backend", ENGINES)
def test_no_backend_replaces_what_is_checked_here(backend: str) -> None:
    runner = load(backend).Runner
    assert issubclass(runner, Engine)
    for name in CHECKED:
        assert getattr(runner, name) is getattr(Engine, name), name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((1, 8, 8, 1), np.float64), "dtype float64, expected float32"),
        (np.zeros((1, 8, 8, 1), np.uint8), "dtype uint8, expected float32"),
        (np.zeros((1, 8, 7, 1), np.float32), r"shape \(1, 8, 7, 1\), expected \(N, 8, 8, 1\)"),
        (np.zeros((1, 8, 8, 3), np.float32), r"shape \(1, 8, 8, 3\)"),
        (np.zeros((8, 8, 1), np.float32), r"shape \(8, 8, 1\)"),
        (np.zeros((0, 8, 8, 1), np.float32), "N >= 1"),
        (np.zeros((1, 8, 16, 1), np.float32)[:, :, ::2], "not C-contiguous"),
        (np.full((1, 8, 8, 1), np.nan, np.float32), "NaN or infinity"),
        (np.full((2, 8, 8, 1), -np.inf, np.float32), "NaN or infinity"),
    ],
)
def test_a_wrong_input_is_refused_and_the_engine_still_works(
    engine: Engine, wrong: NDArray[Any], message: str
) -> None:
    with pytest.raises(EngineError, match=rf"zeros\.bin: .*{message}"):
        engine.infer(wrong)
    with pytest.raises(EngineError, match=message):
        list(engine.infer_many([batch(2), wrong]))
    assert engine.infer(batch(2)).shape == (2, 4)


def test_pixels_are_taken_where_the_signature_says_so(tmp_path: Path) -> None:
    with zeros(tmp_path, dtype="uint8") as engine:
        assert engine.infer(batch(2).astype(np.uint8)).shape == (2, 4)
        with pytest.raises(EngineError, match="dtype float32, expected uint8") as caught:
            engine.infer(batch(2))
    assert "Signature.feed" in caught.value.hint


def test_an_engine_of_one_batch_size_takes_no_other(tmp_path: Path) -> None:
    with zeros(tmp_path, batch_size=6) as engine:
        assert len(engine.infer(batch(6))) == 6
        with pytest.raises(EngineError, match="a batch of 7, it takes 6 and no other") as caught:
            engine.infer(batch(7))
    assert "convert.batch_size=0" in caught.value.hint


def test_batches_are_run_one_by_one_as_they_are_taken(engine: Engine) -> None:
    taken = engine.infer_many(iter([batch(2), batch(3)]))
    assert [len(logits) for logits in taken] == [2, 3]


def test_an_engine_that_is_not_open_is_refused(tmp_path: Path) -> None:
    closed = zeros(tmp_path)
    for run in (closed.infer, closed.infer_many):
        with pytest.raises(EngineError, match=r"zeros\.bin is not open") as caught:
            run(batch(1))
        assert "with" in caught.value.hint


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    engine = Zeros(tmp_path / "none.bin", PIXELS)
    with pytest.raises(EngineError, match=r"'none\.bin'") as caught:
        engine.open()
    assert caught.value.hint == "run: pipeline run build"


def test_what_no_device_tells_is_none(engine: Engine) -> None:
    assert engine.time_parts(batch(1), 1) is None
    assert engine.layer_milliseconds(batch(1), 1) is None
    assert engine.gpu_memory_mib is None


TWO = dataclasses.replace(
    PIXELS,
    class_names=(),
    task="several",
    heads=(
        Head("kind", "classification", "logits", ("a", "b"), ()),
        Head("mask", "segmentation", "logits", ("a", "b"), (8, 8, 2)),
    ),
)


class Described(Zeros):
    """An engine whose file has these outputs."""

    shapes: ClassVar[dict[str, list[Any]]] = {}

    def _open(self) -> None:
        self._expect_outputs(self.shapes)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"mask": [8, 8, 2], "kind": [2]}, ""),
        ({"mask": ["height", None, 2], "kind": [-1]}, ""),
        ({"kind": [2]}, "set of outputs is kind, expected kind, mask"),
        ({"mask": [8, 8, 2], "kind": [2], "x": [1]}, "set of outputs is kind, mask, x"),
        ({"mask": [8, 8, 3], "kind": [2]}, r"shape of 'mask' is \(8, 8, 3\), expected \(8, 8, 2"),
        ({"mask": [None], "kind": [2]}, r"shape of 'mask' is \(None,\), expected \(8, 8, 2"),
        ({"mask": [2], "kind": [8, 8, 2]}, r"shape of 'kind' is \(8, 8, 2\), expected \(2,\)"),
    ],
)
def test_a_file_with_other_outputs_is_refused(
    tmp_path: Path, shapes: dict[str, list[Any]], said: str
) -> None:
    (tmp_path / "two.bin").touch()
    engine = Described(tmp_path / "two.bin", TWO)
    engine.shapes = shapes  # type: ignore[misc]
    if not said:
        engine.open()
        return
    with pytest.raises(EngineError, match=said):
        engine.open()


TWO_INPUTS = dataclasses.replace(
    PIXELS,
    inputs=(
        Input("right", (8, 8, 1), 1.0, 0.0, "NHWC", "uint8", "uint8"),
        Input("table", (3,), 1.0, 0.0, "NC", "float32", "float32"),
    ),
)
SEEN, KNOWN = np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (SEEN, "got ndarray, expected a list of arrays for 'right', 'table'"),
        ([SEEN], "got 1 arrays, expected a list of arrays for 'right', 'table'"),
        ([KNOWN, SEEN], "input 'right' dtype float32, expected uint8"),
        ([SEEN, KNOWN.astype(np.float64)], "input 'table' dtype float64, expected float32"),
        ([SEEN, KNOWN[:, :2]], r"input 'table' shape \(2, 2\), expected \(N, 3\)"),
        ([SEEN, KNOWN[:1]], "a batch of 2 of 'right', 1 of 'table', expected as many of each"),
        ([SEEN, KNOWN + np.inf], "input 'table' holds NaN or infinity"),
        ([SEEN[:, ::-1], KNOWN], "input 'right' is not C-contiguous"),
    ],
)
def test_each_of_several_inputs_is_checked_by_its_name(
    tmp_path: Path, wrong: Any, message: str
) -> None:
    (tmp_path / "two.bin").touch()
    with Zeros(tmp_path / "two.bin", TWO_INPUTS) as engine:
        with pytest.raises(EngineError, match=rf"two\.bin: {message}"):
            engine.infer(wrong)
        assert engine.infer([SEEN, KNOWN]).shape == (2, 4)


class Fed(Zeros):
    """An engine whose file has these inputs."""

    sources: ClassVar[dict[str, tuple[list[Any], str]]] = {}

    def _open(self) -> None:
        self._expect_inputs(self.sources)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"table": ([4], "float32")}, r"image shape of 'table' is \(4,\), expected \(3,\)"),
        ({"table": ([3], "uint8")}, "input type of 'table' is uint8, expected float32"),
        ({"x": ([3], "float32")}, "set of inputs is right, table, x, expected right, table"),
    ],
)
def test_a_file_with_other_inputs_is_refused(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    (tmp_path / "two.bin").touch()
    engine = Fed(tmp_path / "two.bin", TWO_INPUTS)
    engine.sources = {"table": ([3], "float32"), "right": ([8, 8, 1], "uint8"), **changed}  # type: ignore[misc]
    if not said:
        engine.open()
        return
    with pytest.raises(EngineError, match=said):
        engine.open()
