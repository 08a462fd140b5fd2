from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.results import evidence
from stages.artifacts import archives
from stages.artifacts.signature import Head, Input, Signature
from stages.datasets.base import Split
from stages.measurement import kept_answers, prediction_diff, shown_answers
from stages.measurement.benchmarked_engine import BenchmarkedEngine, OutputAnswers
from stages.numerics import fields
from stages.results.engines import EngineRecord, ShownImages
from stages.settings import BenchmarkStage
from stages.tasks.base import Answers

SETTINGS = BenchmarkStage(data=None)
MASKS = Signature((4, 4, 1), ("dark", "light"), 1 / 255, -0.5, task="segmentation")
SMALL = Input("small", (2, 2, 1), 1 / 255, 0.0, "NHWC", "float32", "uint8")
IMAGE = Input("image", (4, 4, 1), 1 / 255, -0.5, "NHWC", "float32", "uint8")
HEADS = (
    Head("size", "regression", "values", ("mm",), (1,)),
    Head("mask", "segmentation", "logits", ("dark", "light"), (4, 4, 2)),
    Head("kind", "classification", "logits", ("dim", "bright"), (2,)),
    Head("labels", "multilabel", "logits", ("a", "b"), (2,), (0.5, 0.5)),
    Head("there", "binary", "logits", ("no", "yes"), (1,), (0.5,)),
)
SEVERAL = replace(MASKS, class_names=(), output="values", task="several", heads=HEADS)
WEIGHTS = {"baseline.onnxruntime.fp32": [-1, 1], "onnxruntime.fp32": [1, -1]}
"""Of the trained model, which finds what is light, and of an engine, which finds what is dark."""


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)


def light() -> np.ndarray:
    return (pixels()[..., 0] > 127).astype(np.uint8)


def convolved(weights: list[int], file: Path, signature: Signature) -> None:
    """Write a graph of one 1x1 convolution: images (N, 4, 4, 1) -> two logits for each pixel, or
    what `said` says. It reads no other of the inputs that it takes."""
    taps = numpy_helper.from_array(np.array(weights, np.float32).reshape(2, 1, 1, 1), "taps")
    of_pixels = "mask" if signature.heads else "logits"
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "taps"], ["sums"]),
        helper.make_node("Transpose", ["sums"], [of_pixels], perm=[0, 2, 3, 1]),
    ]
    shapes = {of_pixels: (4, 4, 2)}
    if signature.heads:
        nodes += [
            helper.make_node("ReduceMean", ["sums"], ["kind"], axes=[2, 3], keepdims=0),
            helper.make_node("Identity", ["kind"], ["labels"]),
            helper.make_node("ReduceMax", ["kind"], ["size"], axes=[1], keepdims=1),
            helper.make_node("Identity", ["size"], ["there"]),
        ]
        shapes = {each.name: each.output_shape for each in signature.heads}
    taken = {each.name: each.input_shape for each in signature.inputs} or {"image": (4, 4, 1)}
    ends = [
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
            for name, shape in each.items()
        ]
        for each in (taken, shapes)
    ]
    graph = helper.make_graph(nodes, "masks", *ends, [taps])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)


def said(weights: list[int], signature: Signature) -> np.ndarray:
    """What that graph returns for `pixels`."""
    sums = MASKS.preprocess(pixels()) * np.array(weights, np.float32)
    if not signature.heads:
        return np.asarray(sums)
    means = sums.mean(axis=(1, 2))
    largest = means.max(axis=1, keepdims=True)
    parts = {"size": largest, "mask": sums, "kind": means, "labels": means, "there": largest}
    return fields.joined(parts)


def truth(signature: Signature) -> np.ndarray:
    if not signature.heads:
        return light()
    means = said(WEIGHTS["baseline.onnxruntime.fp32"], signature)["kind"]
    return fields.joined(
        {
            "size": means.max(axis=1, keepdims=True),
            "mask": light(),
            "kind": means.argmax(axis=1),
            "labels": (means > 0).astype(np.uint8),
            "there": np.arange(20) % 2,
        }
    )


def engine(name: str, signature: Signature) -> BenchmarkedEngine:
    """An engine that has answered for the `pixels`."""
    outputs, right = said(WEIGHTS[name], signature), truth(signature)
    parts = zip(signature.each, fields.parts(outputs), fields.parts(right), strict=True)
    by_output = {
        own.output_name if signature.heads else "": OutputAnswers(Answers.of(*arrays, own))
        for own, *arrays in parts
    }
    record = EngineRecord(backend="onnxruntime", precision="fp32", file=f"{name}.onnx")
    return BenchmarkedEngine(name, record, by_output=by_output)


def kept(
    folder: Path, signature: Signature, samples: np.ndarray, built: bool = True
) -> dict[str, ShownImages | None]:
    """What is kept in the folder "out" of the answers of the two engines."""
    signature.write(folder)
    for name, weights in WEIGHTS.items():
        if built:
            convolved(weights, folder / f"{name}.onnx", signature)
    engines = (engine(name, signature) for name in WEIGHTS)
    (out := folder / "out").mkdir()
    test = Split(samples, truth(signature))
    return shown_answers.keep(*engines, test, folder, SETTINGS, out)


def read(folder: Path, file: str) -> dict[str, dict[str, np.ndarray]]:
    return archives.by_output(evidence.load(folder / "out" / file))


@pytest.mark.parametrize("inputs", [(), (SMALL, IMAGE)], ids=["one input", "two inputs"])
def test_masks_before_and_after_are_kept_of_the_images_that_lost_most(
    tmp_path: Path, inputs: tuple[Input, ...]
) -> None:
    small = np.zeros((20, 2, 2, 1), np.uint8)
    samples = fields.joined({"image": pixels(), "small": small}) if inputs else pixels()
    shown = kept(tmp_path, replace(MASKS, inputs=inputs), samples)
    assert shown == {"": ShownImages(input="image" if inputs else None)}
    found = read(tmp_path, kept_answers.FILE)[""]
    places = found["indices"]
    assert len(set(places.tolist())) == kept_answers.MOST_MASKS
    np.testing.assert_array_equal(found["images"], pixels()[places])
    np.testing.assert_array_equal(found["before"], light()[places])
    np.testing.assert_array_equal(found["after"], 1 - light()[places])


def test_of_several_outputs_each_has_what_it_would_have_alone(tmp_path: Path) -> None:
    shown = kept(tmp_path, SEVERAL, pixels())
    pictures = ShownImages()
    assert shown == {
        "size": None, "mask": pictures, "kind": pictures, "labels": None, "there": pictures
    }  # fmt: skip
    answers = kept_answers.read(evidence.load(tmp_path / "out" / kept_answers.FILE))
    assert {name: each.task for name, each in answers.items()} == {
        each.name: each.task for each in HEADS if each.name != "kind"
    }
    mask, before = answers["mask"], said([-1, 1], SEVERAL)
    assert len(mask) == kept_answers.MOST_MASKS
    np.testing.assert_array_equal(mask.images, pixels()[mask.indices])
    np.testing.assert_array_equal(mask.after, 1 - light()[mask.indices])
    for name in ("size", "labels", "there"):
        np.testing.assert_array_equal(answers[name].before, before[name])
    changed = read(tmp_path, prediction_diff.FILE)
    assert set(changed) == {"kind"}
    places = changed["kind"]["indices"]
    assert len(places) == prediction_diff.MOST_IMAGES
    np.testing.assert_array_equal(changed["kind"]["images"], pixels()[places])
    np.testing.assert_array_equal(changed["kind"]["before"], before["kind"].argmax(1)[places])


def test_where_no_input_has_the_size_of_the_masks_none_are_kept_and_that_is_said(
    tmp_path: Path,
) -> None:
    floats = replace(IMAGE, data_dtype="float32")
    signature = replace(MASKS, inputs=(SMALL, floats))
    shown = kept(tmp_path, signature, signature.noise(20), built=False)
    reason = "no input is an image of uint8, gray or RGB, 4x4 as the masks"
    assert shown == {"": ShownImages(reason=reason)}
    assert not (tmp_path / "out" / kept_answers.FILE).exists()


@pytest.mark.parametrize("signature", [MASKS, SEVERAL], ids=["one output", "several outputs"])
def test_an_engine_that_does_not_run_again_loses_its_masks_and_nothing_else(
    tmp_path: Path, signature: Signature, caplog: pytest.LogCaptureFixture
) -> None:
    shown = kept(tmp_path, signature, pixels(), built=False)
    of_masks = shown["mask" if signature.heads else ""]
    assert of_masks is not None
    assert "baseline.onnxruntime.fp32.onnx" in (of_masks.reason or "")
    assert any("no masks are kept" in text and ".onnx" in text for text in caplog.messages)
    if signature.heads:
        assert set(read(tmp_path, kept_answers.FILE)) == {"size", "labels", "there"}
    else:
        assert not (tmp_path / "out" / kept_answers.FILE).exists()
