"""What the network in this folder says of files. Read it, copy what you need of it.

    python predict.py FILE ...                a line for each sample
    python predict.py --to FOLDER FILE ...    also answers.csv, and masks, in a new folder
    python predict.py --check                 compare its outputs with those expected

A file is an image or, as numpy.save or numpy.savez writes them, arrays of what the network takes:
one sample or many, of several inputs an array for each by its name. Needs what requirements.txt
lists, and nothing else.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle.programs.litert import Network
from pipeline.bundle.programs.one_input import samples
from pipeline.bundle.programs.tasks import TASKS

FOLDER = Path(__file__).resolve().parent
BUNDLE = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
INPUTS = BUNDLE["inputs"] or [BUNDLE["input"]]
OUTPUTS = BUNDLE["outputs"] or [BUNDLE["output"]]
ENGINE = BUNDLE["engine"]

# Share of the largest output: another processor may add in another order, and round another way.
# FP8 has the coarsest steps: a sixteenth to an eighth of a value.
ALLOWED = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.08, "int8": 0.05, "fp8": 0.1}


def run(network: Network, name: str, sample: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """The outputs for one sample, which are called `name`."""
    fed = [scaled(name, values, info) for values, info in zip(sample, INPUTS, strict=True)]
    outputs = [found[0] for found in network(fed)]
    if not all(np.isfinite(each).all() for each in outputs):
        sys.exit(f"{name}: the outputs are not finite: no answer can be read from them")
    return outputs


def scaled(name: str, values: NDArray[Any], info: dict[str, Any]) -> NDArray[Any]:
    """What one input is fed: a batch, as large as it has to be."""
    batch: NDArray[Any] = np.repeat(values[None], info["batch_size"] or 1, axis=0)
    if info["dtype"] == "float32":
        with np.errstate(over="ignore"):  # what is too large for float32 is refused below
            batch = batch.astype(np.float32)
        batch = batch * np.float32(info["scale"]) + np.float32(info["offset"])
    if not np.isfinite(batch).all():
        sys.exit(
            f"{name}: the values of {info['name']!r} are not finite: rounded to integers they "
            "would be any"
        )
    return batch


def check(network: Network) -> None:
    """Compare the outputs for samples/ with those expected; exit code 1 if they differ."""
    expected = np.load(FOLDER / "expected.npy")
    files = sorted(FOLDER.glob("samples/[0-9]*"))
    found = [run(network, *each) for file in files for each in samples(file, INPUTS)]
    allowed, is_right = ALLOWED[ENGINE["precision"]], True
    for info, said in zip(OUTPUTS, map(np.stack, zip(*found, strict=True)), strict=True):
        wanted = expected[info["name"]] if expected.dtype.names else expected
        difference = float(np.abs(said - wanted).max() / (np.abs(wanted).max() or 1))
        words, is_enough = TASKS[info["task"]][1](said, wanted, info)
        print(f"{of(info)}{words}; outputs differ by", end=" ")
        print(f"{difference:.3%} of the largest at most, allowed are {allowed:.1%}")
        is_right &= is_enough and difference <= allowed
    if not is_right:
        sys.exit("this is not the engine that was measured, or not such a processor")


def of(info: dict[str, Any], separator: str = ": ") -> str:
    """Which output it is, where there are several."""
    return info["name"] + separator if len(OUTPUTS) > 1 else ""


def answers(network: Network, files: list[str]) -> Iterator[dict[str, Any]]:
    """Print a line for each sample; cells by column."""
    for name, sample in (each for file in files for each in samples(Path(file), INPUTS)):
        words, cells = list[str](), dict[str, Any]()
        for outputs, info in zip(run(network, name, sample), OUTPUTS, strict=True):
            said, columns = TASKS[info["task"]][0](outputs, info)
            words.append(of(info) + said)
            cells |= {of(info, ".") + column: cell for column, cell in columns.items()}
        print(f"{name}: {'; '.join(words)}")
        yield {"image": name, **cells}


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
                    output = "-" + column.removesuffix(".mask_file") if "." in column else ""
                    row[column] = f"{number}-{Path(row['image']).stem}{output}.png"
                    cell.save(folder / row[column])
            table.writerows([row.values()] if number else [row.keys(), row.values()])


def main() -> None:
    words = sys.argv[1:]
    if len(words) < (3 if words[:1] == ["--to"] else 1):
        sys.exit(__doc__)
    names = ([info["name"] for info in each] for each in (INPUTS, OUTPUTS))
    network = Network(FOLDER / ENGINE["file"], ENGINE["threads"], *names)
    if words == ["--check"]:
        check(network)
    elif words[0] == "--to":
        write(answers(network, words[2:]), Path(words[1]))
    else:
        for _ in answers(network, words):
            pass


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `predict.py FILE ... | head` has read enough
        os._exit(1)
