"""Every network of our own learns, loses channels, is quantized and runs in an engine."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import pytest

from stages import models
from stages.artifacts.signature import Signature
from stages.conversion.onnx.targets import int8_graph
from stages.datasets.base import DataSet, Split
from stages.engines import onnxruntime
from stages.engines.base import BuildRequest
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import flatten, fold
from stages.keras_graph.placement import points
from stages.numerics.classification import cross_entropy
from stages.pruning import structured
from stages.pruning.criteria import layer_scores
from stages.quantization.calibrate import find_ranges, observe
from stages.settings import Model, Training
from stages.training import evaluate, fit

GRAY, COLOUR = (28, 28, 1), (32, 32, 3)
EPOCHS = {
    "mnist_cnn": 3,
    "lenet": 3,
    "three_block_cnn": 3,
    "ds_cnn": 12,  # the statistics of five normalisations in a row need some steps
    "resnet8": 3,
    "vgg16_transfer": 2,
}
"""Enough for each to tell dark from bright."""
WIDTHS = {"vgg16_transfer": 0.5}
"""A quarter of 15 million weights says the same of its layers."""
CLASSES = ("dark", "bright")


def lights(shape: tuple[int, int, int]) -> DataSet:
    """Noise that is dark or bright, as the label says."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 2
    images = rng.integers(0, 100, (48, *shape)) + 150 * labels[:, None, None, None]
    split = Split(images.astype(np.uint8), labels)
    some = split.take(np.arange(16))
    return DataSet("lights", split, some, some, some, CLASSES)


def narrowed(model: keras.Model) -> keras.Model:
    """Half of the channels, the strongest by their norm."""
    flat = flatten(model)
    widths = structured.widths_for(structured.prunable(flat, (), 1), 0.5)
    return structured.narrow(flat, widths, layer_scores(flat, "l2", []))


@pytest.mark.parametrize("name", EPOCHS)
def test_a_network_learns_and_reaches_an_int8_engine(name, tmp_path):
    keras.utils.set_random_seed(0)
    shape = GRAY if name in ("mnist_cnn", "lenet") else COLOUR
    data, signature = lights(shape), Signature(shape, CLASSES, 1 / 255, 0.0)
    model = models.create(Model(name=name, width=WIDTHS.get(name, 1.0)), shape, 2)
    images = signature.preprocess(data.test.images)
    loss = cross_entropy(evaluate.logits(model, images), data.test.labels)
    training = Training(epochs=EPOCHS[name], batch_size=8, learning_rate=1e-3)
    fit.fit(model, fit.TrainingRun(data, signature, training, "train"))
    assert cross_entropy(evaluate.logits(model, images), data.test.labels) < loss

    small = narrowed(model)
    assert small.count_params() < 0.6 * model.count_params()
    folded = fold(small)
    placed = points(folded, signature)
    found = find_ranges(folded, placed, observe(folded, placed, [images]), "max", 100.0)
    source, engine_file = tmp_path / "int8.onnx", tmp_path / "engine.onnx"
    onnx.save(int8_graph(folded, placed, found, signature, "cpu"), source)
    onnxruntime.build(source, engine_file, BuildRequest(signature, "int8"))
    with onnxruntime.Runner(engine_file, signature) as engine:
        got = engine.infer(images)
    expected = evaluate.logits(simulate(folded, placed, found), images)
    assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max() + 1e-6
