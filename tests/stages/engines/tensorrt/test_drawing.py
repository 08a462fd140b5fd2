from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.engines.base import BuildRequest
from stages.engines.tensorrt import drawing, rtx
from stages.engines.tensorrt.layers import Kernel
from tests.stages.graphs import SIGNATURE


def kernel(name: str, kind: str, reads: tuple[str, ...], makes: tuple[str, ...]) -> Kernel:
    return Kernel(name, ('conv "1"',), kind, ("int8",), ("int8",), (), None, reads, makes)


def test_tensors_are_edges_and_kernels_that_only_move_are_dashed() -> None:
    text = drawing.dot(
        [
            kernel("__myl_Cast_myl0_0", "kgen", ("image",), ("a",)),
            kernel("conv", "correlation", ("a", "a"), ("b",)),
            kernel("add", "kgen", ("a", "b"), ("logits",)),
        ]
    )
    edges = [line.strip(" ;") for line in text.splitlines() if "->" in line]
    assert edges == ['"image" -> k0', "k0 -> k1", "k0 -> k2", "k1 -> k2", 'k2 -> "logits"']
    assert [number for number in range(3) if re.search(rf"k{number} .*dashed", text)] == [0]
    assert r"conv \"1\"" in text


def test_the_kernels_of_an_engine_are_one_way_from_the_image_to_the_logits(
    converted: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")
    file = tmp_path / "engine.rtx"
    report = rtx.build(converted / "model.fp16.onnx", file, BuildRequest(SIGNATURE, "fp16", 1))
    text = (tmp_path / "engine.rtx.dot").read_text()
    after: dict[str, str] = dict(re.findall(r"^  (\S+) -> (\S+);$", text, re.MULTILINE))
    place, steps = '"image"', 0
    while place in after:
        place, steps = after[place], steps + 1
    assert place == '"logits"'
    assert steps == len(report.layers) + 1
