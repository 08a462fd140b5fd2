"""The same cases for every engine that this machine has. What Engine checks is in test_base.py."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.engines.base import BuildRequest, Engine, Images
from stages.engines.modules import load, source_file
from stages.engines.registry import ENGINES, EngineName, Precision
from stages.errors import EngineError
from tests.stages.graphs import SIGNATURE, images, reference

TOLERANCE = {"fp32": 2e-4, "fp16": 1e-2, "bf16": 8e-2, "int8": 0.15, "fp8": 0.3}
"""Largest difference of a logit (they reach 4) from the float32 graph."""

MAX_BATCH_SIZE = 8


@dataclass(frozen=True)
class Built:
    """An engine file of the small classifier."""

    backend: str
    precision: Precision
    file: Path

    def runner(self, file: Path | None = None) -> Engine:
        """An engine, not opened."""
        return load(self.backend).Runner(file or self.file, SIGNATURE)


def _cases() -> list[object]:
    return [
        pytest.param(
            (backend, precision),
            id=f"{backend}.{precision}",
            marks=[pytest.mark.gpu] if row.device == "gpu" else [],
        )
        for backend, row in ENGINES.items()
        for precision in row.precisions
    ]


@pytest.fixture(scope="session", params=_cases())
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Every engine that can be built and run here, one after the other."""
    backend, precision = request.param
    module = load(backend)
    blocker = module.build_blocker() or module.run_blocker()
    if blocker is not None:
        pytest.skip(blocker.reason)
    out = tmp_path_factory.mktemp("engine") / f"{backend}.{precision}{ENGINES[backend].suffix}"
    source = source_file(EngineName(backend, precision))
    # TensorFlow, which makes the graphs of LiteRT, need not be there for the others.
    graphs: Path = request.getfixturevalue("converted" if source.endswith(".tflite") else "graphs")
    module.build(graphs / source, out, BuildRequest(SIGNATURE, precision, MAX_BATCH_SIZE))
    return Built(backend, precision, out)


def batch(count: int, seed: int = 0) -> Images:
    return SIGNATURE.preprocess(images(count, seed))


def test_logits_are_those_of_the_graph(built: Any) -> None:
    with built.runner() as engine:
        logits = engine.infer(batch(5))
    assert logits.dtype == np.float32
    assert logits.shape == (5, 4)
    expected = reference("fp32", batch(5))
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE[built.precision])


def test_a_row_does_not_depend_on_the_batch_it_is_in(built: Any) -> None:
    one_by_one = [batch(8)[index : index + 1] for index in range(8)]
    with built.runner() as engine:
        alone = np.concatenate([engine.infer(image) for image in one_by_one])
        for size in (5, 1, 8, 3):
            np.testing.assert_allclose(
                engine.infer(batch(8)[:size]), alone[:size], rtol=1e-3, atol=1e-3
            )


def test_many_batches_come_back_in_order(built: Any) -> None:
    sent = [batch(size, seed=size) for size in (8, 8, 8, 8, 3)]
    with built.runner() as engine:
        one_by_one = [engine.infer(images) for images in sent]
        together = list(engine.infer_many(iter(sent)))
        assert list(engine.infer_many([])) == []
    for got, expected in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_a_wrong_batch_among_many_is_refused(built: Any) -> None:
    with built.runner() as engine:
        found = engine.infer_many([batch(2), batch(2).astype(np.float64)])
        with pytest.raises(EngineError, match="dtype float64"):
            list(found)
        assert engine.infer(batch(2)).shape == (2, 4)
    with pytest.raises(EngineError, match="not open"):
        engine.infer_many([batch(2)])


def test_parts_are_timed_where_the_device_tells_them(built: Any) -> None:
    with built.runner() as engine:
        parts = engine.time_parts(batch(2), calls=5)
        layers = engine.layer_milliseconds(batch(2), calls=5)
        memory = engine.gpu_memory_mib
    if ENGINES[built.backend].device == "cpu":
        assert (parts, layers, memory) == (None, None, None)
    else:
        assert sum(layers.values()) > 0
        assert memory >= 0
        assert set(parts) == {"h2d_ms", "compute_ms", "d2h_ms", "enqueue_ms"}
        assert all(0 < ms < 1000 for ms in parts.values())


def test_a_result_outlives_the_next_call_and_the_engine(built: Any) -> None:
    with built.runner() as engine:
        first = engine.infer(batch(2, seed=1))
        kept = first.copy()
        second = engine.infer(batch(2, seed=2))
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_the_input_is_not_written_to(built: Any) -> None:
    sent = batch(3)
    sent.flags.writeable = False
    with built.runner() as engine:
        engine.infer(sent)
    np.testing.assert_array_equal(sent, batch(3))


def test_opening_an_open_engine_is_harmless(built: Any) -> None:
    with built.runner() as engine:
        once = engine.infer(batch(1))
        engine.open()
        np.testing.assert_array_equal(engine.infer(batch(1)), once)


def test_a_closed_engine_can_be_opened_again(built: Any) -> None:
    engine = built.runner()
    with engine:
        once = engine.infer(batch(2))
    with engine:
        np.testing.assert_array_equal(engine.infer(batch(2)), once)


def test_closing_twice_or_before_opening_is_harmless(built: Any) -> None:
    engine = built.runner()
    engine.close()
    engine.open()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="not open"):
        engine.infer(batch(1))


def test_closing_frees_what_opening_took(built: Any) -> None:
    engine = built.runner()
    before = set(vars(engine))
    engine.open()
    engine.infer(batch(1))
    taken = [value for name, value in vars(engine).items() if name not in before]
    watched = [weakref.ref(value) for value in taken if hasattr(type(value), "__weakref__")]
    assert watched
    del taken
    engine.close()
    gc.collect()
    assert [ref() for ref in watched] == [None] * len(watched)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_engine_file_is_refused_with_its_name(
    built: Any, tmp_path: Path, share: float
) -> None:
    whole = built.file.read_bytes()
    file = tmp_path / f"cut{built.file.suffix}"
    file.write_bytes(whole[: int(share * len(whole))])
    engine = built.runner(file)
    with pytest.raises(EngineError, match=file.name):
        engine.open()
    with pytest.raises(EngineError, match="not open"):
        engine.infer(batch(1))


@pytest.mark.parametrize(
    "other",
    [
        {"input_name": "photo"},
        {"output_name": "classes"},
        {"input_shape": (8, 8, 3)},
        {"dtype": "uint8"},
    ],
    ids=str,
)
def test_an_engine_of_another_signature_is_refused_when_it_is_opened(
    built: Any, other: dict[str, Any]
) -> None:
    if built.backend == "litert" and {"input_name", "output_name"} & set(other):
        pytest.skip("LiteRT knows its only input and output by their place, not by name")
    if ENGINES[built.backend].device == "gpu" and "input_shape" in other:
        pytest.skip("TensorRT compares the shape with its profile when it sees the first batch")
    engine = load(built.backend).Runner(built.file, dataclasses.replace(SIGNATURE, **other))
    with pytest.raises(EngineError, match=built.file.name) as caught:
        engine.open()
    assert caught.value.hint
    with pytest.raises(EngineError, match="not open"):
        engine.infer(batch(1))


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for blocker in (load(built.backend).build_blocker(), load(built.backend).run_blocker()):
        assert blocker is not None
        assert "not installed" in blocker.reason
        assert blocker.fix.startswith("pip install")
