from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from stages.artifacts import signature
from stages.artifacts.signature import Head, Input, Signature, rows
from stages.errors import ArtifactError
from stages.numerics import fields

SIGNATURE = Signature((2, 2, 1), ("zero", "one"), scale=1 / 255, offset=0.0)


def test_a_signature_comes_back_from_its_file_as_it_was(tmp_path):
    SIGNATURE.write(tmp_path)
    assert Signature.read(tmp_path) == SIGNATURE


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"input_shape": 3, "class_names": []}'])
def test_a_damaged_signature_is_refused_by_its_name(tmp_path, text):
    (tmp_path / signature.FILE).write_text(text)
    with pytest.raises(ArtifactError, match=r"signature\.json in .* is damaged") as caught:
        Signature.read(tmp_path)
    assert caught.value.hint == "run: pipeline run all --force"


@pytest.mark.parametrize(("batch_size", "sizes"), [(0, [4, 4, 2]), (3, [3, 3, 3, 3])])
def test_images_come_in_batches_and_a_fixed_size_is_filled_up_with_the_first(batch_size, sizes):
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    fed = Signature((1, 1, 1), ("a",), 1.0, 0.0, dtype="uint8", batch_size=batch_size)
    batches = list(fed.batches(images, 4))
    assert [len(each) for each in batches] == sizes
    order = np.concatenate(batches).ravel().tolist()
    assert order == [*range(10), *range(sum(sizes) - 10)]


def test_only_pixels_have_known_limits_and_can_be_the_input_of_a_graph(tmp_path):
    floats = dataclasses.replace(SIGNATURE, data_dtype="float32")
    assert SIGNATURE.limits == (0.0, 1.0)
    assert floats.limits is None
    dataclasses.replace(floats, dtype="uint8").write(tmp_path)
    with pytest.raises(ArtifactError, match="dtype is 'uint8', but data_dtype is not"):
        Signature.read(tmp_path)


def test_preprocessing_is_pixel_times_scale_plus_offset():
    images = np.array([[[[0]], [[255]]]], np.uint8)
    centred = Signature((1, 2, 1), ("a",), scale=2 / 255, offset=-1.0)
    seen = centred.preprocess(images)
    assert seen.dtype == np.float32
    assert seen.ravel().tolist() == pytest.approx([-1.0, 1.0])
    assert images.max() == 255


@pytest.mark.parametrize("unknown", ["output", "inputs"])
def test_a_signature_of_before_something_was_known_is_read(unknown, tmp_path):
    SIGNATURE.write(tmp_path)
    old = json.loads((tmp_path / signature.FILE).read_text())
    del old[unknown]
    (tmp_path / signature.FILE).write_text(json.dumps(old))
    assert Signature.read(tmp_path) == SIGNATURE


def test_an_unknown_kind_of_output_is_refused(tmp_path):
    SIGNATURE.write(tmp_path)
    raw = json.loads((tmp_path / signature.FILE).read_text())
    (tmp_path / signature.FILE).write_text(json.dumps(raw | {"output": "sigmoids"}))
    with pytest.raises(ArtifactError, match="output is 'sigmoids'"):
        Signature.read(tmp_path)


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (2 / 255, -1.0), (-1.0, 3.0)])
def test_the_limits_are_those_of_all_preprocessed_pixels_and_zero(scale, offset):
    described = Signature((16, 16, 1), ("a",), scale, offset)
    seen = described.preprocess(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
    expected = (min(seen.min(), 0), max(seen.max(), 0))
    assert described.limits == pytest.approx(expected, rel=1e-6)


def test_heads_take_the_thresholds_of_the_trained_model_along() -> None:
    def of(share: float) -> Signature:
        head = Head("defect", "binary", "logits", ("no", "yes"), (1,), (share,))
        return Signature((4, 4, 1), (), 1.0, 0.0, task="several", heads=(head,))

    both = of(0.7).with_trained_thresholds(of(0.3))
    assert both.each[0].thresholds == (0.7,)
    assert both.of_trained.each[0].thresholds == (0.3,)


def test_a_raw_output_may_be_one_number() -> None:
    raw = Signature((4, 4, 1), (), 1.0, 0.0, task="raw", output="values")
    assert raw.shape_of_output == ()


CAMERA = Input("camera", (2, 3, 1), 1 / 255, 0.0, "NHWC", "float32", "uint8")
TABLE = Input("table", (4,), 1.0, 0.0, "NC", "float32", "float32")
BOTH = Signature((), ("zero", "one"), 1.0, 0.0, inputs=(CAMERA, TABLE))


def both_of(count: int) -> np.ndarray:
    """Data of BOTH whose fields are in another order than the inputs."""
    random = np.random.default_rng(1)
    table = random.normal(size=(count, 4)).astype(np.float32)
    camera = random.integers(0, 256, (count, 2, 3, 1), np.uint8)
    return fields.joined({"table": table, "camera": camera})


def test_several_inputs_come_back_from_their_file_and_stand_each_for_itself(tmp_path):
    BOTH.write(tmp_path)
    assert Signature.read(tmp_path) == BOTH
    assert BOTH.input_names == ("camera", "table")
    camera, table = BOTH.each_input
    assert camera == Signature((2, 3, 1), ("zero", "one"), 1 / 255, 0.0, input_name="camera")
    assert (table.input_name, table.input_shape, table.limits) == ("table", (4,), None)
    assert SIGNATURE.each_input == (SIGNATURE,)
    assert SIGNATURE.input_names == ("image",)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data_dtype": "int8"}, "data_dtype is 'int8'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"dtype": "uint8"}, "dtype is 'uint8', but data_dtype is not"),
        ({"name": "camera"}, "inputs are called camera, camera"),
        ({"colour": 3}, "colour"),
    ],
)
def test_a_damaged_input_of_several_is_refused(tmp_path, changed, message):
    BOTH.write(tmp_path)
    raw = json.loads((tmp_path / signature.FILE).read_text())
    raw["inputs"][1] |= changed
    (tmp_path / signature.FILE).write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=message):
        Signature.read(tmp_path)


def test_several_inputs_are_fed_as_a_list_in_their_order_each_scaled_by_itself():
    images = both_of(5)
    camera, table = BOTH.preprocess(images)
    np.testing.assert_allclose(camera, images["camera"] / 255, rtol=1e-6)
    np.testing.assert_array_equal(table, images["table"])
    assert [camera.dtype, table.dtype] == [np.float32, np.float32]
    raw = BOTH.fed_as("uint8")
    assert [each.dtype for each in raw.inputs] == ["uint8", "float32"]
    pixels, numbers = raw.feed(images)
    np.testing.assert_array_equal(pixels, images["camera"])
    np.testing.assert_array_equal(numbers, images["table"])
    assert all(each.flags.c_contiguous for each in (camera, table, pixels, numbers))
    assert raw.fed_as("float32") == BOTH


@pytest.mark.parametrize(("batch_size", "sizes"), [(0, [4, 1]), (3, [3, 3])])
def test_several_inputs_come_in_batches_and_know_how_many_samples_they_are(batch_size, sizes):
    images = both_of(5)
    fed = list(dataclasses.replace(BOTH, batch_size=batch_size).batches(images, 4))
    assert [rows(each) for each in fed] == sizes
    tables = np.concatenate([table for _, table in fed])
    order = [*range(5), *range(sum(sizes) - 5)]
    np.testing.assert_array_equal(tables, images["table"][order])
    assert rows(np.zeros((7, 2))) == 7


def test_one_input_is_fed_with_pixels_only_where_its_data_are_these():
    assert SIGNATURE.fed_as("uint8") == dataclasses.replace(SIGNATURE, dtype="uint8")
    floats = dataclasses.replace(SIGNATURE, data_dtype="float32")
    assert floats.fed_as("uint8") == floats


def test_noise_is_data_of_every_input():
    of_both = np.dtype([("camera", "u1", (2, 3, 1)), ("table", "f4", (4,))])
    assert BOTH.noise(3).dtype == of_both
    assert BOTH.noise(3).shape == (3,)
    assert np.unique(BOTH.noise(3)["camera"]).size > 10
    assert BOTH.noise(3)["table"].std() > 0.3
    (of_one, floats) = (
        each.noise(2) for each in (SIGNATURE, dataclasses.replace(SIGNATURE, data_dtype="float32"))
    )
    assert (of_one.shape, of_one.dtype) == ((2, 2, 2, 1), np.uint8)
    assert (floats.shape, floats.dtype) == ((2, 2, 2, 1), np.float32)
