"""The search on ONNX Runtime, with an engine that breaks one node on purpose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from stages.artifacts.signature import Head
from stages.engines import onnxruntime
from stages.engines.base import BuildRequest, Engine
from stages.engines.child import ChildFailed
from stages.engines.registry import Precision
from stages.measurement import divergence
from stages.measurement.divergence import Search, first_off
from stages.results.engines import Divergence
from stages.settings import TensorRT
from tests.stages import inputs
from tests.stages.graphs import GRAPHS, SIGNATURE, graph, images


@given(st.integers(0, 200), st.data())
def test_the_first_place_that_is_off_is_found_by_halving(count: int, data: st.DataObject) -> None:
    first = data.draw(st.none() | st.integers(0, count - 1)) if count else None
    asked = []

    def is_off(place: int) -> bool:
        asked.append(place)
        return first is not None and place >= first

    assert first_off([set(range(each)) for each in range(count)], is_off) == first
    assert len(asked) == len(set(asked)) <= count.bit_length() + 1


@given(st.integers(1, 40), st.data())
def test_the_place_that_is_off_is_found_among_branches(count: int, data: st.DataObject) -> None:
    """As of a network with several inputs: what is beside it says nothing of it."""
    behind: list[set[int]] = []
    for each in range(count):
        reads = data.draw(st.sets(st.integers(0, each - 1), max_size=3)) if each else set()
        behind.append(reads.union(*(behind[other] for other in reads)))
    first = data.draw(st.sampled_from([*behind[-1], count - 1]))
    assert first_off(behind, lambda each: each == first or first in behind[each]) == first
    assert first_off(behind, lambda _: False) is None


@dataclass(frozen=True)
class Broken:
    """ONNX Runtime, which gets every graph with a bias of the node of `operator` moved."""

    operator: str
    by: float = 3.0

    def build(self, source: Path, out: Path, request: BuildRequest) -> None:
        model = onnx.load(source)
        for node in [each for each in model.graph.node if each.op_type == self.operator]:
            (bias,) = [each for each in model.graph.initializer if each.name == node.input[2]]
            values = numpy_helper.to_array(bias)
            values = values + np.asarray(self.by, values.dtype)
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))
        onnxruntime.build(_saved(model, out), out, request)

    def Runner(self, file: Path, signature: Any, threads: int = 1) -> Engine:
        return onnxruntime.Runner(file, signature, threads)


def _saved(model: onnx.ModelProto, out: Path) -> Path:
    file = out.with_suffix(".broken.onnx")
    onnx.save(model, file)
    return file


def search(folder: Path, file: str, precision: Precision) -> Search:
    onnx.save(graph(GRAPHS[file]), folder / file)
    fed = SIGNATURE.preprocess(images(4))
    return Search("onnxruntime", folder / file, BuildRequest(SIGNATURE, precision), fed)


@pytest.mark.parametrize(
    ("file", "precision", "operator", "node"),
    [
        ("model.fp32.onnx", "fp32", "Conv", "conv_1"),
        ("model.fp32.onnx", "fp32", "Gemm", "gemm_5"),
        ("model.int8.tensorrt8.onnx", "int8", "Conv", "conv_4"),
    ],
)
def test_the_node_that_an_engine_breaks_is_named(
    tmp_path: Path, file: str, precision: Precision, operator: str, node: str
) -> None:
    broken: Any = Broken(operator)
    found = divergence.find(search(tmp_path, file, precision), broken)
    assert found is not None
    assert (found.node, found.tensor) == (node, node)
    assert found.max_relative_difference is not None
    assert found.max_relative_difference > 0.1
    assert found.builds <= 5


def test_a_right_engine_has_no_place_that_is_off(tmp_path: Path) -> None:
    assert divergence.search_in_child(search(tmp_path, "model.fp32.onnx", "fp32")) is None


def test_what_tf32_explains_is_no_place_that_is_off(tmp_path: Path) -> None:
    """By the limit of the check of the whole engine."""
    asked = search(tmp_path, "model.fp32.onnx", "fp32")
    asked = replace(asked, backend="tensorrt")
    slightly: Any = Broken("Gemm", by=0.002)
    assert divergence.find(asked, slightly) is not None
    tf32 = replace(asked.request, tensorrt=TensorRT(tf32=True))
    assert divergence.find(replace(asked, request=tf32), slightly) is None


def test_a_part_has_the_typed_graph_beside_it_of_which_8_6_reads_what_stays_float32(
    tmp_path: Path,
) -> None:
    seen = []

    class Looking(Broken):
        def build(self, source: Path, out: Path, request: BuildRequest) -> None:
            seen.append(source.with_name("model.fp16.onnx").read_bytes())
            super().build(source, out, request)

    asked = search(tmp_path, "model.fp32.onnx", "fp32")
    (tmp_path / "model.fp16.onnx").write_bytes(b"typed")
    request = replace(asked.request, precision="fp16")
    looking: Any = Looking("Conv", by=0.0)
    divergence.find(replace(asked, backend="tensorrt", request=request), looking)
    assert set(seen) == {b"typed"}


def test_a_builder_that_fails_is_told_and_takes_nothing_with_it(tmp_path: Path) -> None:
    asked = search(tmp_path, "model.fp32.onnx", "fp32")
    asked.source.write_bytes(b"no graph")
    with pytest.raises(ChildFailed):
        divergence.search_in_child(asked)


def test_the_sentence_tells_how_far_off_it_is() -> None:
    found = Divergence(tensor="x", node="conv", max_relative_difference=0.25, builds=3)
    assert found.in_words == (
        "the first tensor that is off is that of conv (x), off by 0.25 of its largest value"
    )
    broken = found.model_copy(update={"max_relative_difference": None})
    assert broken.in_words.endswith("(x), not a finite number")


def two_heads() -> onnx.ModelProto:
    """The classifier, and in front of its nodes one that has nothing to do with it: "other"."""
    model = graph("fp32")
    relu = next(each for each in model.graph.node if each.op_type == "Relu")
    model.graph.node.insert(0, onnx.helper.make_node("Abs", ["image"], ["other"], "other"))
    last = onnx.helper.make_node("Neg", [relu.output[0]], ["behind"], "behind")
    model.graph.node.append(last)
    for name, shape in (("other", ["N", 8, 8, 1]), ("behind", ["N", 16, 6, 6])):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, shape))
    return model


def test_of_several_outputs_what_makes_the_one_that_is_off_is_searched(tmp_path: Path) -> None:
    """The last tensor of the graph is behind the convolution, not behind the Gemm."""
    onnx.save(two_heads(), tmp_path / "model.fp32.onnx")
    heads = tuple(
        Head(name, "regression", "values", names, shape)
        for name, names, shape in (
            ("logits", ("a", "b", "c", "d"), ()),
            ("other", (), (8, 8, 1)),
            ("behind", (), (16, 6, 6)),
        )
    )
    signature = replace(SIGNATURE, class_names=(), task="several", heads=heads)
    request = BuildRequest(signature, "fp32")
    fed = SIGNATURE.preprocess(images(4))
    broken: Any = Broken("Gemm")
    asked = Search("onnxruntime", tmp_path / "model.fp32.onnx", request, fed, "logits")
    found = divergence.find(asked, broken)
    assert found is not None
    assert found.node == "gemm_5"
    assert divergence.find(replace(asked, output="behind"), broken) is None


def test_of_several_inputs_those_are_fed_that_a_part_reads(tmp_path: Path) -> None:
    onnx.save(inputs.tables(), tmp_path / "model.fp32.onnx")
    fed = inputs.TABLES.feed(inputs.TABLES.noise(4))
    request = BuildRequest(inputs.TABLES, "fp32")
    asked = Search("onnxruntime", tmp_path / "model.fp32.onnx", request, fed)
    broken: Any = Broken("Gemm")
    found = divergence.find(asked, broken)
    assert found is not None
    assert found.node == "product"
    right: Any = onnxruntime
    assert divergence.find(asked, right) is None
