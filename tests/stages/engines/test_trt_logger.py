from __future__ import annotations

import pytest

from stages.engines.trt_logger import logger, sparsity_verdict

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
