"""What the network in this folder says of images. Read it, copy what you need of it.

    python predict.py photo.jpg ...                a line for each image
    python predict.py --to FOLDER photo.jpg ...    also answers.csv, and masks, in a new folder
    python predict.py --check                      compare its outputs with those expected

Needs what requirements.txt lists, and nothing else.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.bundle.programs.classification import answer, compare
from pipeline.bundle.programs.litert import Network

FOLDER = Path(__file__).resolve().parent
BUNDLE = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
INPUT, OUTPUT, ENGINE = BUNDLE["input"], BUNDLE["output"], BUNDLE["engine"]
HEIGHT, WIDTH, CHANNELS = INPUT["shape"]

# Share of the largest output: another processor may add in another order, and round another way.
ALLOWED = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}


def read(file: Path) -> NDArray[np.uint8]:
    """An image file as the network was trained to see it: (HEIGHT, WIDTH, CHANNELS)."""
    try:
        pixels: NDArray[np.uint8] = np.load(file) if file.suffix == ".npy" else decoded(file)
    except Exception as error:  # each format's decoder has errors of its own
        sys.exit(f"{file} cannot be read: {error}")
    if pixels.dtype != np.uint8 or pixels.shape != (HEIGHT, WIDTH, CHANNELS):
        sys.exit(f"{file} holds {pixels.dtype} {pixels.shape}, expected uint8 {INPUT['shape']}")
    return pixels


def decoded(file: Path) -> NDArray[np.uint8]:
    """What Pillow reads, in the colours and the size of the network."""
    with Image.open(file) as opened:
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
    """The outputs for one image."""
    images: NDArray[Any] = np.repeat(pixels[None], INPUT["batch_size"] or 1, axis=0)
    if INPUT["dtype"] == "float32":
        images = images * np.float32(INPUT["scale"]) + np.float32(INPUT["offset"])
    outputs: NDArray[np.float32] = network(images)[0]
    if not np.isfinite(outputs).all():
        sys.exit("the outputs are not finite: no answer can be read from them")
    return outputs


def check(network: Network) -> None:
    """Compare the outputs for samples/ with those expected; exit code 1 if they differ."""
    expected = np.load(FOLDER / "samples" / "expected.npy")
    files = sorted(FOLDER.glob("samples/[0-9]*"))
    found = np.stack([run(network, read(file)) for file in files])
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    allowed = ALLOWED[ENGINE["precision"]]
    words, is_enough = compare(found, expected, OUTPUT)
    print(f"{words}; outputs differ by", end=" ")
    print(f"{difference:.3%} of the largest at most, allowed are {allowed:.1%}")
    if not (is_enough and difference <= allowed):
        sys.exit("this is not the engine that was measured, or not such a processor")


def answers(network: Network, files: list[str]) -> Iterator[dict[str, Any]]:
    """Print a line for each file; cells by column."""
    for file in files:
        words, cells = answer(run(network, read(Path(file))), OUTPUT)
        print(f"{file}: {words}")
        yield {"image": file, **cells}


def write(rows: Iterable[dict[str, Any]], folder: Path) -> None:
    """Write answers.csv to the new `folder`, and cells that are images to files of their own."""
    if folder.exists():
        sys.exit(f"{folder} exists, and is not overwritten")
    rows = list(rows)  # a file that cannot be read ends it before there is a folder
    folder.mkdir(parents=True)
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        for number, row in enumerate(rows):
            for column, cell in row.items():
                if isinstance(cell, np.ndarray):
                    row[column] = f"{number}-{Path(row['image']).stem}.png"
                    Image.fromarray(cell).save(folder / row[column])
            table.writerows([row.values()] if number else [row.keys(), row.values()])


def main() -> None:
    words = sys.argv[1:]
    if len(words) < (3 if words[:1] == ["--to"] else 1):
        sys.exit(__doc__)
    network = Network(FOLDER / ENGINE["file"], ENGINE["threads"])
    if words == ["--check"]:
        check(network)
    elif words[0] == "--to":
        write(answers(network, words[2:]), Path(words[1]))
    else:
        for _ in answers(network, words):
            pass


if __name__ == "__main__":
    main()
