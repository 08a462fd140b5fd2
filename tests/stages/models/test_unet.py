from __future__ import annotations

import pytest

from stages import models
from stages.errors import ModelError, SettingsError
from stages.models import unet
from stages.settings import Model


def test_it_returns_a_value_per_class_for_every_pixel() -> None:
    model = models.create(Model(name="unet"), (16, 24, 3), [(16, 24, 4)])
    assert model.output_shape == (None, 16, 24, 4)
    half = models.create(Model(name="unet", width=0.5), (16, 24, 3), [(16, 24, 4)])
    assert half.output_shape == model.output_shape
    assert half.count_params() < model.count_params() / 3


def test_images_that_cannot_be_halved_twice_are_refused() -> None:
    with pytest.raises(ModelError, match=r"halves its images 2 times, these are \(16, 22\)"):
        unet.build((16, 22, 1), 2)


def test_networks_for_images_and_for_pixels_are_not_mixed_up() -> None:
    with pytest.raises(
        SettingsError, match=r"'lenet' answers once for each image.*masks"
    ) as caught:
        models.create(Model(name="lenet"), (16, 16, 1), [(16, 16, 3)])
    assert "model.name=unet" in caught.value.hint
    with pytest.raises(SettingsError, match="'unet', which answers for each pixel"):
        models.create(Model(name="unet"), (16, 16, 1), 3)
