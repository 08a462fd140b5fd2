"""Networks converted for a GPU machine that has neither Keras nor a data set.

    python benchmarks/gpu_prepare.py DIR [--only NAME ...] [--mnist mnist.npz]

Every network leaves DIR/<name>/convert. Those that are in DIR already are not made again. The small
ones are trained, and whole: `pipeline run build benchmark --artifacts DIR/<name>` works there. Of
the large ones only what TensorRT's engines are made of and compared with is kept; they take digits
enlarged to 224x224, and only their last layer is fitted, to what random layers make of them: what
they get right is good for comparing engines and for nothing else. To send DIR in parts:
gpu_parts.py. Needs `make run`'s environment;
MNIST's network needs its file or the internet, and a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages.engines.registry import ENGINES

ROOT = Path(__file__).resolve().parents[1]
SMALL: dict[str, tuple[str, ...]] = {
    "default_cnn": (),
    "resnet8": ("model.name=resnet8",),
    "ds_cnn": ("model.name=ds_cnn",),
}
LARGE = {"resnet50": "ResNet50", "mobilenetv2": "MobileNetV2"}
EXTRA = 'convert.extra_precisions=["bf16","fp8"]'
KEPT_OF_LARGE = (
    *ENGINES["tensorrt"].sources.values(),
    "model.int8.tensorrt8.onnx",
    *("samples.npz", "signature.json", "test_images.npy", "test_labels.npy"),
)
MNIST = "mnist_cnn"
NAMES = (*SMALL, *LARGE, MNIST)
STAGES = ("train", "prune", "quantize", "convert")
SIDE, TRAIN, TEST, RANDOMIZED_BY = 224, 160, 64, 16
UNTRAINED = (
    *("train.epochs=0", "prune.ratio=0", "prune.epochs=0", "quantize.epochs=0"),
    *("quantize.calibration=max", "data.calibration_samples=32", f"convert.parity_samples={TEST}"),
    # Rounding alone moves an untrained network of this depth further than a trained one.
    "convert.max_relative_difference=1e-3",
)


def large(name: str, folder: Path) -> list[str]:
    """Write the untrained network and its images into `folder`; the settings that take them."""
    import keras
    import numpy as np
    from coverage import randomize
    from sklearn.datasets import load_digits

    digits, labels = load_digits(return_X_y=True)
    gray = np.clip(digits.reshape(-1, 8, 8) * 16, 0, 255).astype(np.uint8)[: TRAIN + TEST]
    enlarged = gray.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    images, labels = np.stack([enlarged] * 3, axis=3), labels[: TRAIN + TEST]
    np.savez_compressed(
        folder / "digits.npz",
        **{"x_train": images[:TRAIN], "y_train": labels[:TRAIN]},
        **{"x_test": images[TRAIN:], "y_test": labels[TRAIN:]},
    )
    keras.utils.set_random_seed(0)
    architecture = getattr(keras.applications, LARGE[name])
    model = architecture(
        weights=None, input_shape=(SIDE, SIDE, 3), classes=10, classifier_activation=None
    )
    pixels = images[:TRAIN].astype(np.float32) / 255
    randomize(model, pixels[:RANDOMIZED_BY])
    fit_head(model, pixels, labels[:TRAIN])
    model.save(folder / "network.keras")
    source = (f"data.path={folder}/digits.npz", f"model.source={folder}/network.keras")
    return ["data.name=npz", *source, *UNTRAINED]


def fit_head(model: Any, images: Any, labels: Any) -> None:
    """Set the last layer of `model` by ridge regression of its inputs on the labels."""
    import keras
    import numpy as np

    head = model.layers[-1]
    features = keras.Model(model.input, head.input).predict(images, batch_size=16, verbose=0)
    features = features.astype(np.float64)
    centred = features - features.mean(axis=0)
    wanted = 10.0 * (np.eye(head.units)[labels] - 1 / head.units)
    gram = centred @ centred.T
    ridge = 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernel = centred.T @ np.linalg.solve(gram + ridge, wanted)
    head.set_weights([kernel, -features.mean(axis=0) @ kernel])


def convert(name: str, to: Path, options: argparse.Namespace) -> None:
    """Run the line up to convert for one network, and keep what a GPU machine needs of it."""
    folder = to / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = ["run", *STAGES, "--artifacts", folder]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as sources:
        settings = large(name, Path(sources)) if name in LARGE else list(SMALL.get(name, ()))
        if name == MNIST:
            words += ["--config", ROOT / "configs" / "mnist.toml"]
            settings += [f"data.path={options.mnist.resolve()}"] if options.mnist else []
        words += [word for pair in (*settings, EXTRA, *options.set) for word in ("--set", pair)]
        subprocess.run(
            [sys.executable, "-m", "pipeline", *map(str, words)],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
        )
    for other in list(folder.iterdir()):
        if other.name != "convert":
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    for file in (folder / "convert").iterdir() if name in LARGE else ():
        if file.name not in KEPT_OF_LARGE:
            file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("to", type=Path)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--mnist", type=Path, help="mnist.npz; without it Keras downloads it")
    parser.add_argument("--set", action="append", default=[], help="settings for every network")
    options = parser.parse_args()
    for name in options.only:
        folder = options.to.resolve() / name / "convert"
        if not (folder / "signature.json").is_file():
            convert(name, options.to.resolve(), options)
        size = sum(file.stat().st_size for file in folder.rglob("*"))
        print(f"{name}: {size / 1e6:.0f} MB in {folder}", flush=True)


if __name__ == "__main__":
    main()
