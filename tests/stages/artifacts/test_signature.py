from __future__ import annotations

import numpy as np
import pytest

from stages.artifacts.signature import Signature

SIGNATURE = Signature((2, 2, 1), ("zero", "one"), scale=1 / 255, offset=0.0)


def test_a_signature_comes_back_from_its_file_as_it_was(tmp_path):
    SIGNATURE.write(tmp_path)
    assert Signature.read(tmp_path) == SIGNATURE


def test_preprocessing_is_pixel_times_scale_plus_offset():
    images = np.array([[[[0]], [[255]]]], np.uint8)
    centred = Signature((1, 2, 1), ("a",), scale=2 / 255, offset=-1.0)
    seen = centred.preprocess(images)
    assert seen.dtype == np.float32
    assert seen.ravel().tolist() == pytest.approx([-1.0, 1.0])
    assert images.max() == 255


@pytest.mark.parametrize(
    ("scale", "offset", "signed"), [(1 / 255, 0.0, False), (2 / 255, -1.0, True), (-1.0, 0.0, True)]
)
def test_an_image_is_signed_if_a_preprocessed_pixel_can_be_negative(scale, offset, signed):
    assert Signature((2, 2, 1), ("a",), scale, offset).is_signed is signed
