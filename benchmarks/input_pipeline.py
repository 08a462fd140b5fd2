"""How long a training step waits for its images: decoding, every augmentation, batches of 64.

    python benchmarks/input_pipeline.py [--path FOLDER] [--models NAME ...] [--epochs N]

FOLDER holds train/<class>/* and test/<class>/*; without it 4,000 random JPEG images of 40x40 are
made, and resized to 32x32. Prints a Markdown table; the first epoch, which compiles, is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from stages import models
from stages.datasets.loading import load_dataset
from stages.settings import Data, Model, Training
from stages.training.description import describe
from stages.training.fit import TrainingRun, fit, reset

AUGMENTATION = {
    **{"shift_pixels": 4, "flip": True, "rotate_degrees": 10.0},
    **{"shear_degrees": 5.0, "zoom": 0.1, "contrast": 0.2},
}
CLASSES, IMAGES = 4, 4000


def make_folder(root: Path) -> Path:
    """Random images of CLASSES classes, as many of each."""
    rng = np.random.default_rng(0)
    for part, count in (("train", IMAGES), ("test", IMAGES // 10)):
        for number in range(count):
            file = root / part / str(number % CLASSES) / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(file)
    return root


def measure(name: str, data: Data, epochs: int) -> str:
    """One row: what the model `name` takes and waits for, of all epochs but the first."""
    reset(0)
    dataset = load_dataset(data)
    signature = describe(dataset, data)
    model = models.create(Model(name=name), signature.input_shape, len(dataset.class_names))
    training = Training(epochs=epochs, batch_size=64)
    rows = fit(model, TrainingRun(dataset, signature, training, "train", data)).history[1:]
    seconds = sum(row.seconds for row in rows)
    waited = sum(row.input_wait_share * row.seconds for row in rows)
    step_ms = np.mean([row.step_ms for row in rows])
    images = sum(row.images_per_second * row.seconds for row in rows) / seconds
    return f"| {name} | {step_ms:.1f} | {images:,.0f} | {waited / seconds:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path)
    parser.add_argument("--models", nargs="+", default=["ds_cnn", "resnet8"])
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        root = options.path or make_folder(Path(folder) / "images")
        data = Data(name="folder", path=str(root), image_size=32, **AUGMENTATION)
        start = time.perf_counter()
        dataset = load_dataset(data)
        seconds = time.perf_counter() - start
        count = len(dataset.train) + len(dataset.test)
        print(f"{os.cpu_count()} cores; about {count:,} images decoded in {seconds:.1f} s, once\n")
        print("| model | step ms | images/s | share of the time waited for images |")
        print("| --- | ---: | ---: | ---: |")
        for name in options.models:
            print(measure(name, data, options.epochs), flush=True)


if __name__ == "__main__":
    main()
