from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from stages.artifacts import signature
from stages.artifacts.signature import Head, Signature
from stages.errors import ArtifactError

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


def test_a_signature_of_before_the_kind_of_output_was_known_is_read(tmp_path):
    SIGNATURE.write(tmp_path)
    old = json.loads((tmp_path / signature.FILE).read_text())
    del old["output"]
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
