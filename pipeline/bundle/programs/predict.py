"""What the network in this folder says of files. Read it, copy what you need of it.

    python predict.py FILE ...                a line for each file
    python predict.py --to FOLDER FILE ...    also answers.csv, and masks, in a new folder
    python predict.py --check                 compare its outputs with those expected

A file is an image or, as numpy.save writes it, an array of what the network takes. Needs what
requirements.txt lists, and nothing else.
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

from pipeline.bundle.programs.classification import answer, compare
from pipeline.bundle.programs.litert import Network
from pipeline.bundle.programs.pictures import decoded

FOLDER = Path(__file__).resolve().parent
BUNDLE = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
INPUT, OUTPUT, ENGINE = BUNDLE["input"], BUNDLE["output"], BUNDLE["engine"]

# Share of the largest output: another processor may add in another order, and round another way.
ALLOWED = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}


def read(file: Path) -> NDArray[Any]:
    """A file as the network was trained to see it, before the values are scaled."""
    try:
        values = np.load(file) if file.suffix == ".npy" else decoded(file, INPUT)
    except Exception as error:  # each format's decoder has errors of its own
        sys.exit(f"{file} cannot be read: {error}")
    shape = tuple(INPUT["shape"])
    if values.shape == shape[:-1] and shape[-1] == 1:
        values = values.reshape(shape)
    is_fit = (values.dtype == np.uint8) == (INPUT["data_dtype"] == "uint8")
    if values.dtype.kind not in "uif" or not is_fit or values.shape != shape:
        sys.exit(
            f"{file} holds {values.dtype} {values.shape}, expected {INPUT['data_dtype']} {shape}"
        )
    return values


def run(network: Network, values: NDArray[Any]) -> NDArray[np.float32]:
    """The outputs for what one file holds."""
    batch: NDArray[Any] = np.repeat(values[None], INPUT["batch_size"] or 1, axis=0)
    if INPUT["dtype"] == "float32":
        batch = batch.astype(np.float32) * np.float32(INPUT["scale"]) + np.float32(INPUT["offset"])
    if not np.isfinite(batch).all():
        sys.exit("the values are not finite: rounded to integers they would be any")
    outputs: NDArray[np.float32] = network(batch)[0]
    if not np.isfinite(outputs).all():
        sys.exit("the outputs are not finite: no answer can be read from them")
    return outputs


def check(network: Network) -> None:
    """Compare the outputs for samples/ with those expected; exit code 1 if they differ."""
    expected = np.load(FOLDER / "expected.npy")
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
    """Write answers.csv to the new `folder`, and images among the cells to files of their own."""
    if folder.exists():
        sys.exit(f"{folder} exists, and is not overwritten")
    rows = list(rows)  # a file that cannot be read ends it before there is a folder
    folder.mkdir(parents=True)
    with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        for number, row in enumerate(rows):
            for column, cell in row.items():
                if hasattr(cell, "save"):
                    row[column] = f"{number}-{Path(row['image']).stem}.png"
                    cell.save(folder / row[column])
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
