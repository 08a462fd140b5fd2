from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.engines.tensorrt import weights
from stages.errors import EngineError


class Recorded:
    """What is left of TensorRT's interface here: a refitter needs an engine, which needs a GPU."""

    def __init__(self, accepts: bytes) -> None:
        self.__name__, self.accepts, self.is_fitted = "tensorrt", accepts, False
        self.log = SimpleNamespace(errors=["weights differ"], warning="")

    def Refitter(self, engine: object, log: object) -> Recorded:
        return self

    def OnnxParserRefitter(self, refitter: Recorded, log: object) -> Recorded:
        return refitter

    def refit_from_bytes(self, content: bytes) -> bool:
        return content == self.accepts

    def refit_cuda_engine(self) -> bool:
        self.is_fitted = True
        return True


def stripped(folder: Path, graph: bytes) -> Path:
    engine, source = folder / "tensorrt.fp16.plan", folder / "model.fp16.onnx"
    engine.write_bytes(b"plan")
    source.write_bytes(graph)
    remark = weights.keep(source, engine)
    assert remark == (
        f"its plan of 4 bytes holds no weights: they are read from {engine.name}.weights.onnx, "
        f"{len(graph)} bytes, when it is opened"
    )
    return engine


def refit(trt: Recorded, engine: Path) -> None:
    anything: Any = trt
    weights.refit(anything, object(), engine, trt.log)


def test_an_engine_gets_the_weights_of_the_graph_beside_it(tmp_path: Path) -> None:
    trt = Recorded(b"graph")
    refit(trt, stripped(tmp_path, b"graph"))
    assert trt.is_fitted


def test_weights_that_tensorrt_refuses_are_told_with_its_words(tmp_path: Path) -> None:
    trt = Recorded(b"graph")
    with pytest.raises(EngineError, match=r"cannot give tensorrt\.fp16\.plan .*: weights differ"):
        refit(trt, stripped(tmp_path, b"another"))
    assert not trt.is_fitted


def test_a_plan_whose_weights_stayed_behind_says_so(tmp_path: Path) -> None:
    engine = stripped(tmp_path, b"graph")
    weights.beside(engine).unlink()
    with pytest.raises(EngineError, match=r"holds no weights, and .*weights\.onnx cannot be read"):
        refit(Recorded(b"graph"), engine)
