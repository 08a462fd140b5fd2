"""What the network in this folder says of images. Read it, copy what you need of it.

    python predict.py photo.jpg ...    the three most likely classes of each image
    python predict.py --check          compare its outputs for the samples with those expected

Needs what requirements.txt lists, and nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.bundle.programs.litert import Network

FOLDER = Path(__file__).resolve().parent
BUNDLE = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
INPUT, OUTPUT, ENGINE = BUNDLE["input"], BUNDLE["output"], BUNDLE["engine"]
HEIGHT, WIDTH, CHANNELS = INPUT["shape"]

# Share of the largest output: another processor may add in another order, and round another way.
ALLOWED = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}


def read(file: Path) -> NDArray[np.uint8]:
    """An image file as the network was trained to see it: (HEIGHT, WIDTH, CHANNELS)."""
    if file.suffix == ".npy":
        pixels: NDArray[np.uint8] = np.load(file)
        return pixels
    opened = Image.open(file)
    opened.draft(None, (max(WIDTH, HEIGHT),) * 2)  # decodes no more of a JPEG than is needed
    image = ImageOps.exif_transpose(opened)
    if image.mode[0] in "FI":
        sys.exit(f"{file} has more than 8 bits a pixel")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if CHANNELS == 1 and mode != "L":
        sys.exit(f"{file} is in colour, and the network takes gray images")
    image = image.convert(mode).convert("L" if CHANNELS == 1 else "RGB")
    if image.size != (WIDTH, HEIGHT):
        image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(HEIGHT, WIDTH, CHANNELS)


def run(network: Network, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The outputs for one image, one per class."""
    images: NDArray[Any] = np.repeat(pixels[None], INPUT["batch_size"] or 1, axis=0)
    if INPUT["dtype"] == "float32":
        images = images * np.float32(INPUT["scale"]) + np.float32(INPUT["offset"])
    outputs: NDArray[np.float32] = network(images)[0]
    return outputs


def probabilities(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares of 1: of logits the softmax."""
    if OUTPUT["kind"] == "probabilities":
        return outputs
    powers: NDArray[np.float32] = np.exp(outputs - outputs.max())
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares


def check(network: Network) -> None:
    """Compare the outputs for samples/ with those expected; exit code 1 if they differ."""
    expected = np.load(FOLDER / "samples" / "expected.npy")
    files = sorted(FOLDER.glob("samples/[0-9]*"))
    found = np.stack([run(network, read(file)) for file in files])
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    allowed = ALLOWED[ENGINE["precision"]]
    same = int((found.argmax(axis=1) == expected.argmax(axis=1)).sum())
    print(f"{same} of {len(files)} samples have the class expected; outputs differ by", end=" ")
    print(f"{difference:.3%} of the largest at most, allowed are {allowed:.1%}")
    if same < len(files) or difference > allowed:
        sys.exit("this is not the engine that was measured, or not such a processor")


def main() -> None:
    network = Network(FOLDER / ENGINE["file"], ENGINE["threads"])
    if sys.argv[1:] == ["--check"]:
        return check(network)
    for file in sys.argv[1:] or sys.exit(__doc__):
        shares = probabilities(run(network, read(Path(file))))
        best = np.argsort(-shares, kind="stable")[:3]
        print(f"{file}:", ", ".join(f"{OUTPUT['classes'][i]} {shares[i]:.1%}" for i in best))


if __name__ == "__main__":
    main()
