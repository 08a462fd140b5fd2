from __future__ import annotations

import pytest

from stages.engines.tensorrt.logger import logger, said, sparsity_verdict

ELIGIBLE = "(Sparsity) Layers eligible for sparse math: Conv_22, Conv_24 + Relu_25, Gemm_725"
PICKED = "(Sparsity) TRT inference plan picked sparse implementation for layers:"


@pytest.mark.parametrize(
    ("messages", "verdict"),
    [
        ([], ""),
        (["(Sparsity) Layers eligible for sparse math: ", PICKED], ""),
        (
            [ELIGIBLE, PICKED],
            "0 of 3 layers with 2:4 weights took a sparse kernel, dense ones were faster",
        ),
        (
            [ELIGIBLE, f"{PICKED} Conv_24 + Relu_25"],
            "1 of 3 layers with 2:4 weights took a sparse kernel: Conv_24 + Relu_25",
        ),
    ],
)
def test_what_tensorrt_says_about_sparse_kernels_becomes_a_verdict(
    messages: list[str], verdict: str
) -> None:
    assert sparsity_verdict(messages) == verdict


def test_all_builders_of_a_process_share_one_logger() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    assert logger(trt) is logger(trt)


def test_errors_are_what_was_said_or_else_the_last_warning() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    log = logger(trt)
    log.clear()
    assert said(log, "nothing") == "nothing"
    for warning in ("slow", "no GPU"):
        log.log(trt.ILogger.WARNING, warning)
    assert said(log) == "no GPU"
    for error in ("first", "second"):
        log.log(trt.ILogger.ERROR, error)
    assert said(log) == "first; second"
    log.clear()
    assert said(log, "nothing") == "nothing"
