"""How fast a network of given widths would be, before anything is trained for it.

    python -m benchmarks.widths --artifacts FOLDER WIDTHS [WIDTHS ...]

WIDTHS as `block1_a_conv=0,stem_conv=8` take the trained network in FOLDER/train, remove the block
of the layer that has 0, and leave the group of another layer so many channels, as `prune.widths`
does. Which channels stay makes no difference to the latency. Each network is timed as every INT8
engine of the CPU, in turns with the fastest one of the whole network at that batch size; prints
Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np

from benchmarks.front import BATCH_SIZES, INT8, WINDOW_SECONDS
from stages.artifacts.signature import Signature
from stages.engines.modules import source_file
from stages.keras_graph.channel_rules import PRODUCERS
from stages.keras_graph.fold import flatten
from stages.keras_graph.producers import channel_kernels
from stages.measurement.engine_process import EngineProcess, compare
from stages.models import files
from stages.pruning.named import widths_named
from stages.pruning.stopwatch import write_graph
from stages.pruning.structured import narrow

WHOLE = "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=21)
    parser.add_argument("widths", nargs="+", metavar="WIDTHS")
    options = parser.parse_args()
    trained = options.artifacts / "train"
    flat = flatten(files.load(trained / "model.keras"))
    found = {WHOLE: flat} | {text: narrowed(flat, text) for text in options.widths}
    signature = Signature.read(trained)
    signature = dataclasses.replace(signature, dtype=signature.data_dtype)
    with tempfile.TemporaryDirectory() as folder:
        write(found, signature, Path(folder))
        titles = [f"{each.backend}, batch {size}" for size in BATCH_SIZES for each in INT8]
        print(f"| widths | parameters | {' | '.join(titles)} |")
        print(f"| --- |{' ---: |' * (1 + len(titles))}")
        shares = [ratios(Path(folder), len(found), size, options.windows) for size in BATCH_SIZES]
    for number, (text, network) in enumerate(found.items()):
        cells = [f"{ratio:.2f}" for share in shares for ratio in share[number]]
        print(f"| `{text}` | {network.count_params()} | {' | '.join(cells)} |")


def narrowed(flat: keras.Model, text: str) -> keras.Model:
    """The network of these widths."""
    pairs = (pair.split("=") for pair in text.split(","))
    widths = widths_named(flat, {layer: int(width) for layer, width in pairs})
    return narrow(flat, widths, any_scores(flat))


def any_scores(flat: keras.Model) -> dict[str, np.ndarray]:
    """The first channels matter most."""
    return {
        name: -np.arange(float(kernel.shape[axis]))
        for layer in flat.layers
        if type(layer) in PRODUCERS
        for name, (kernel, axis) in channel_kernels(layer).items()
    }


def write(networks: dict[str, keras.Model], signature: Signature, folder: Path) -> None:
    """The graphs of all engines, each network in a folder by its number."""
    shape = (64, *signature.input_shape)
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    for number, network in enumerate(networks.values()):
        own = folder / str(number)
        own.mkdir()
        signature.write(own)
        for name in dict.fromkeys(map(source_file, INT8)):
            write_graph(network, own / name, signature, images)


def ratios(folder: Path, networks: int, batch_size: int, windows: int) -> list[list[float]]:
    """By network and engine: its share of the fastest engine of network 0."""
    with ExitStack() as opened:
        started = []
        for number in range(networks):
            for engine in INT8:
                source = folder / str(number) / source_file(engine)
                process = EngineProcess(engine, source, source.parent, batch_size)
                started.append(opened.enter_context(process))
                process.wait()
        _, of_first = compare(started[0], started, windows, WINDOW_SECONDS)
    best = min(of_first[: len(INT8)])
    rows = np.reshape(of_first, (networks, len(INT8))) / best
    found: list[list[float]] = rows.tolist()
    return found


if __name__ == "__main__":
    main()
