"""The layer-local test on right graphs, and on graphs that were broken on purpose."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.conversion.layer_parity import RoundingBounds, compare_layers
from stages.conversion.litert import write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.quantized import FP8_GRAPHS, INT8_GRAPHS
from stages.conversion.traces import traces
from stages.engines.onnxruntime import interpret
from stages.keras_graph.walk import apply, walk
from stages.numerics.rounding import FLOAT16, FLOAT32
from stages.results.conversion import LayerParity
from tests.stages.conversion import mutants
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.conversion.onnx.test_targets import Quantized
from tests.stages.networks import SHAPE, images, pixels, randomized

PIXELS = pixels(16)
TAKES_PIXELS = dataclasses.replace(SIGNATURE, dtype="uint8")


def gated() -> keras.Model:
    """Convolutions with as many inputs as outputs, an addition, a ReLU inside a segment."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU(name="first")(layers.Conv2D(8, 3, padding="same")(image))
    y = layers.ReLU(name="inner")(layers.Conv2D(8, 3, padding="same", name="square")(x))
    y = layers.Conv2D(8, 3, padding="same")(y)
    gate = layers.Activation("sigmoid")(layers.ReLU(name="missing")(layers.Add()([x, y])))
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([y, gate]))
    return keras.Model(image, layers.Dense(4, name="answers")(x))


def sure(model: keras.Model) -> keras.Model:
    """`model` with a last layer that is sure of one class per image, solved by least squares."""
    last = model.get_layer("answers")
    seen = keras.Model(model.inputs[0], last.input)(images(16)).numpy()
    wanted = 20.0 * np.eye(4)[np.arange(16) % 4]
    centred = np.c_[seen, np.ones(16)]
    solved = np.linalg.lstsq(centred, wanted, rcond=1e-4)[0]
    last.set_weights([solved[:-1], solved[-1]])
    return model


@dataclasses.dataclass(frozen=True)
class Converted:
    """A network with its INT8 graphs in a folder."""

    net: Quantized
    folder: Path

    def judge(
        self, folder: Path, signature: Signature = TAKES_PIXELS, samples: NDArray[Any] = PIXELS
    ) -> list[LayerParity]:
        """Of the graphs in `folder`, in every runtime."""
        graphs = INT8_GRAPHS | FP8_GRAPHS
        files = {file: target for file, target in graphs.items() if (folder / file).is_file()}
        net, fed = self.net, signature.feed(samples)
        return [
            compare_layers(name, net.model, net.points, net.ranges, trace, samples, signature)
            for name, trace in traces(folder, files, net.ranges, signature, fed)
        ]


def converted(net: Quantized, folder: Path) -> Converted:
    convert_int8(net, folder)
    fp8 = prepend_preprocessing(to_float16(net.graph("fp8")), TAKES_PIXELS)
    onnx.save(fp8, folder / "model.fp8.onnx")
    return Converted(net, folder)


def convert_int8(net: Quantized, folder: Path) -> None:
    takes_pixels = net.signature.fed_as("uint8")
    tensorrt = net.graph("tensorrt")
    graphs = zip(INT8_GRAPHS, (net.graph("cpu"), tensorrt, to_float16(tensorrt)), strict=False)
    for file, graph in graphs:
        onnx.save(prepend_preprocessing(graph, takes_pixels), folder / file)
    write_int8(folder / "model.int8.tflite", net.model, net.points, net.ranges, takes_pixels)


@pytest.fixture(scope="module", params=["untrained", "sure"])
def network(request, tmp_path_factory) -> Converted:
    model = randomized(gated())
    net = Quantized(sure(model) if request.param == "sure" else model)
    return converted(net, tmp_path_factory.mktemp("graphs"))


def test_a_right_graph_passes_however_sure_the_network_is(network):
    found = network.judge(network.folder)
    assert [each.name for each in found] == [
        "model.int8.cpu.onnx",
        "model.int8.cpu.onnx in ONNX Runtime",
        "model.int8.cpu.onnx in OpenVINO",
        "model.int8.tensorrt8.onnx",
        "model.int8.tensorrt.onnx",
        "model.int8.tflite",
        "model.fp8.onnx",
    ]
    assert not [each for each in found if not each.passes]


@pytest.mark.parametrize("mutant", mutants.ONNX)
@pytest.mark.parametrize("file", [file for file in INT8_GRAPHS if file.endswith(".onnx")])
def test_an_onnx_graph_that_is_wrong_in_one_place_fails(network, file, mutant, tmp_path):
    shutil.copy(network.folder / file, tmp_path)
    mutants.ONNX[mutant](tmp_path / file)
    as_written, *as_run = network.judge(tmp_path)
    assert not as_written.passes, as_written
    for each in as_run:
        # Its integer kernels know one axis only.
        is_ignored = mutant == "wrong_axis" and each.name.endswith("ONNX Runtime")
        assert each.passes is is_ignored, each


@pytest.mark.parametrize("mutant", ["swapped_scales", "missing_relu"])
def test_an_fp8_graph_that_is_wrong_in_one_place_fails(network, mutant, tmp_path):
    shutil.copy(network.folder / "model.fp8.onnx", tmp_path)
    mutants.ONNX[mutant](tmp_path / "model.fp8.onnx")
    (found,) = network.judge(tmp_path)
    assert not found.passes, found


@pytest.mark.parametrize("mutant", mutants.TFLITE)
def test_a_tflite_that_is_wrong_in_one_place_fails(network, mutant, tmp_path):
    file = tmp_path / "model.int8.tflite"
    shutil.copy(network.folder / file.name, file)
    scales = {name: spec.scale("litert") for name, spec in network.net.ranges.items()}
    mutants.edit_tflite(mutants.TFLITE[mutant], file, scales)
    (found,) = network.judge(tmp_path)
    assert not found.passes, found


def test_a_bias_in_other_steps_is_found_although_the_graph_means_the_same(network, tmp_path):
    file = tmp_path / "model.int8.cpu.onnx"
    shutil.copy(network.folder / file.name, file)
    before = interpret(file, TAKES_PIXELS, PIXELS)
    mutants.refine_bias(file)
    np.testing.assert_allclose(interpret(file, TAKES_PIXELS, PIXELS), before, atol=1e-5)
    found = {each.name: each for each in network.judge(tmp_path)}
    assert found["model.int8.cpu.onnx"].passes
    as_it_runs = found["model.int8.cpu.onnx in ONNX Runtime"]
    assert not as_it_runs.passes
    assert as_it_runs.worst_point == "answers"


def repeated() -> keras.Model:
    """Layers that are called again on what they gave, which has another range."""
    image = keras.Input(SHAPE, name="image")
    conv, dense = layers.Conv2D(6, 3, padding="same"), layers.Dense(16)
    x = layers.Conv2D(6, 1)(image)
    x = layers.Flatten()(conv(conv(conv(x))))
    x = layers.Dense(16)(x)
    return keras.Model(image, layers.Dense(4)(dense(dense(dense(x)))))


def test_each_call_of_a_shared_layer_has_a_bias_in_its_own_steps(tmp_path):
    model = randomized(repeated())
    for layer in model.layers[1:]:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / 3, bias * 5])
    found = converted(Quantized(model), tmp_path).judge(tmp_path)
    assert not [each for each in found if not each.passes]


def test_images_that_were_normalised_before_are_taken_as_well(network, tmp_path):
    onnx.save(network.net.graph("cpu"), tmp_path / "model.int8.cpu.onnx")
    assert all(each.passes for each in network.judge(tmp_path, SIGNATURE))


def test_a_graph_without_a_points_quantizer_fails_and_names_it(network, tmp_path):
    graph = network.net.graph("tensorrt")
    renamed = onnx.ModelProto.FromString(
        graph.SerializeToString().replace(b"inner.scale", b"inner.other")
    )
    file = tmp_path / "model.int8.tensorrt8.onnx"
    onnx.save(prepend_preprocessing(renamed, TAKES_PIXELS), file)
    (found,) = network.judge(tmp_path)
    assert (found.passes, found.worst_point) == (False, "inner")


@pytest.mark.parametrize(("level", "is_tie"), [(63.5, True), (-20.5, True), (63.4, False)])
def test_a_weight_on_a_tie_may_be_rounded_either_way(level, is_tie):
    layer = layers.Dense(1, name="answers")
    image = keras.Input((2,), name="image")
    model = keras.Model(image, layer(image))
    layer.set_weights([np.float32([[127], [level]]) / 127, np.zeros(1)])
    bounds = RoundingBounds(apply, FLOAT32)
    inputs = keras.ops.convert_to_tensor(np.float32([[0.0, 3.0], [0.0, -5.0]]))
    (output,) = walk(model, [inputs], bounds.visit)
    one_step = 5 / 127
    assert (bounds.of(output) > one_step) is is_tie
    assert bounds.of(output) < 1.01 * one_step


def test_the_bound_of_rounding_covers_float32_against_float64():
    """As measured on the float network: Keras in float32 against the same weights in float64."""
    model = randomized(gated())
    bounds = RoundingBounds(apply, FLOAT32)
    (output,) = walk(model, [keras.ops.convert_to_tensor(images(16))], bounds.visit)
    exact = _in_float64(model)(images(16).astype(np.float64)).numpy()
    error = float(np.abs(np.asarray(output) - exact).max())
    assert 0 < error < bounds.of(output)
    assert bounds.of(output) < 0.02 * np.abs(exact).max()


def test_what_is_repeated_over_a_picture_is_right(tmp_path):
    """As a table beside it is: LiteRT would round it once more where it is repeated."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    y = layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D()(x))
    y = layers.UpSampling2D(SHAPE[0])(layers.Reshape((1, 1, 8))(y))
    x = layers.Conv2D(8, 3, activation="relu")(layers.Concatenate()([x, y]))
    model = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    net = Quantized(randomized(model))
    net.write_litert(tmp_path)
    found = Converted(net, tmp_path).judge(tmp_path, SIGNATURE)
    assert [each.passes for each in found] == [True, True]


BENT = {
    "mish": layers.Activation("mish"),
    "LeakyReLU": layers.LeakyReLU(0.1),
    "Activation": layers.Activation("leaky_relu"),
    "ReLU": layers.ReLU(negative_slope=0.3),
    "ops": keras.ops.leaky_relu,
    "PReLU": layers.PReLU(shared_axes=[1, 2]),
}


def failing(image, x, folder):
    """The checks that a network fails whose last layers read `x`."""
    x = layers.Conv2D(8, 3, activation="relu")(x)
    model = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    net = Quantized(randomized(model))
    convert_int8(net, folder)
    return [each for each in Converted(net, folder).judge(folder) if not each.passes]


@pytest.mark.parametrize("bent", BENT)
def test_an_activation_in_integers_is_right_in_every_engine(bent, tmp_path):
    """XNNPACK brings a LeakyReLU to another scale by numbers of 8 binary places."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = BENT[bent](layers.Conv2D(8, 3, padding="same")(x))
    assert failing(image, x, tmp_path) == []


RESIZED = {
    "UpSampling2D": layers.UpSampling2D(interpolation="bilinear"),
    "enlarging": layers.Resizing(24, 24),
    "shrinking": layers.Resizing(6, 3),
    # XNNPACK holds the weights of such sizes to 11 binary places.
    "by no whole factor": layers.Resizing(17, 7),
    "ops": lambda x: keras.ops.image.resize(x, (24, 24)),
}


@pytest.mark.parametrize("resized", RESIZED)
@pytest.mark.parametrize(
    "before", [layers.ReLU(), layers.Activation("silu"), layers.MaxPooling2D()]
)
def test_what_is_made_in_between_is_right_in_every_engine(before, resized, tmp_path):
    """LiteRT has one scale before and behind, so that the range behind clipped what was before."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = before(layers.Conv2D(8, 3, padding="same")(x))
    x = RESIZED[resized](x)
    assert failing(image, x, tmp_path) == []


def test_comparisons_have_no_bound_and_what_follows_them_or_a_root_of_zero_has_one():
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3)(image)
    chosen = keras.ops.where(x > 0, x, 0.1 * x) + keras.ops.sqrt(keras.ops.relu(x))
    model = keras.Model(image, chosen + keras.ops.cast(keras.ops.argmax(x, -1, True), "float32"))
    bounds = RoundingBounds(apply, FLOAT32)
    (output,) = walk(model, [keras.ops.convert_to_tensor(images(4))], bounds.visit)
    assert 0 < bounds.of(output) < 0.05


def test_only_what_rounding_can_put_on_the_other_side_of_a_comparison_may_be_otherwise():
    image = keras.Input((3,), name="image")
    scaled = layers.Rescaling(0.3)(image)
    model = keras.Model(image, 2 * keras.ops.where(scaled > 0.3, scaled, 0.7))
    bounds = RoundingBounds(apply, FLOAT16)
    (output,) = walk(model, [keras.ops.convert_to_tensor([[0.5, 1.001, 2.0]])], bounds.visit)
    np.testing.assert_allclose(output, [[1.4, 0.6006, 1.2]], rtol=1e-5)
    np.testing.assert_allclose(bounds.otherwise(output), [[1.4, 1.4, 1.2]], rtol=1e-5)
    assert bounds.of(output) < 0.01


def _in_float64(model: keras.Model) -> Any:
    keras.config.set_dtype_policy("float64")
    try:
        double = gated()
    finally:
        keras.config.set_dtype_policy("float32")
    double.set_weights(model.get_weights())
    return double
