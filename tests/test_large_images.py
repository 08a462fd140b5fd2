"""A network and images on which TensorFlow 2.21 with oneDNN crashes, through the real stage."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from pipeline.core.plan import PLAN, find
from pipeline.core.process import StageProcess, Task
from stages.artifacts.signature import Signature
from stages.models import files, resnet
from stages.settings import Data, Prune, PruneStage

SIDE, CLASSES = 96, ("black", "bright")
"""It crashes on 64 pixels and more."""

AUGMENTED = {"shear_degrees": 10.0, "zoom": 0.1, "flip": True}
SPLIT = {"calibration_samples": 2, "validation_share": 0.4}


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 1)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                image = rng.integers(128, 256, (SIDE, SIDE, 3), np.uint8) * (name == "bright")
                keras.utils.save_img(folder / part / name / f"{number}.png", image, scale=False)


def network() -> keras.Model:
    """ResNet-8 that tells black from bright without any training: of zeros it makes zeros."""
    model = resnet.build(8, (SIDE, SIDE, 3), len(CLASSES))
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.tile(np.float32([-1.0, 1.0]), (kernel.shape[0], 1)))
    model.get_layer("logits").bias.assign([0.01, 0.0])
    return model


def test_resnet8_is_pruned_on_large_images_with_shear_zoom_and_flip(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "train").mkdir()
    files.save(network(), tmp_path / "train/model.keras")
    Signature((SIDE, SIDE, 3), CLASSES, 1 / 255, 0.0).write(tmp_path / "train")
    data = Data(name="folder", path=str(tmp_path / "images"), **SPLIT, **AUGMENTED)
    settings = PruneStage(data=data, prune=Prune(epochs=1, batch_size=3))
    out = tmp_path / "prune"
    out.mkdir()
    task = Task(
        find(PLAN, "prune"),
        settings.model_dump(mode="json"),
        {"train": tmp_path / "train"},
        out,
        tmp_path / "logs/prune.log",
        tmp_path / "resume",
    )
    warned = []
    with StageProcess(tmp_path) as process:
        result = process.run(task, lambda *line: warned.append(line[:2]))
    assert len(result.details.history) == 1
    assert files.load(out / "model.keras").count_params() == result.details.parameters_after
    # With a TensorFlow that does not crash there is nothing to say.
    assert result.notes == tuple(text for level, text in warned if level == "WARNING")
