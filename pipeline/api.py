"""`pipeline.optimize`: the whole line from a program or a notebook.

What the line reads, it reads from files, so that a rerun knows what has changed and every stage can
be run again from the command line: the model and the images are kept beside the artifact folder.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import commands, config
from pipeline.bundle.engine import BundledEngine, load
from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from pipeline.results.model import Report
from stages.artifacts.atomic import replacing
from stages.errors import SettingsError, shown

if TYPE_CHECKING:
    import keras

Named = NDArray[Any] | Mapping[str, NDArray[Any]]
"""One array, or those of several inputs or outputs by name."""
Arrays = tuple[Named, Named]
KEY_CHARACTERS = 16


@dataclass(frozen=True)
class Optimized:
    """What `optimize` returns; a notebook shows its verdict and its tables."""

    report: Report
    artifacts: Path

    def export(self, to: str | Path, engine: str | None = None) -> Path:
        """Write the engine that was chosen, or `engine`, to a bundle: see `pipeline export`."""
        export(Export(Path(to), engine), self.artifacts, PLAN)
        return Path(to)

    def load(self, to: str | Path) -> BundledEngine:
        """`export` to a bundle and open it."""
        return load(self.export(to))

    def _repr_html_(self) -> str:
        from pipeline.report import html  # Jinja2, which only this needs

        return html.cell(self.report)


def optimize(
    model: keras.Model | str | Path,
    train: Arrays,
    test: Arrays,
    settings: Mapping[str, Any] | None = None,
    artifacts: str | Path = "artifacts",
) -> Optimized:
    """Run the whole line on a trained Keras model, and show its progress.

    model       a model, or the path of a .keras or .h5 file
    train, test images uint8 (N, H, W) or (N, H, W, C) and labels: class numbers (N,), columns of
                0 and 1 or of numbers (N, K), or masks of class numbers (N, H, W)
                or signals or volumes, with {"data.kind": "signals", "data.scale": 1.0}
                of several inputs or outputs dictionaries of arrays by their names
    settings    by dotted key, as in {"prune.ratio": 0.5}; {"train.epochs": 5} trains the model,
                {"model.task": "binary"} says what it is asked where the labels do not
    artifacts   folder of the artifacts; the model and the images go to `<artifacts>.inputs`

    Raises UserError, as the command line would print it.
    """
    folder = Path(artifacts)
    inputs = folder.with_name(f"{folder.name}.inputs")
    inputs.mkdir(parents=True, exist_ok=True)
    wanted = {
        "data.name": "npz",
        "data.path": str(_kept(_archive(train, test), inputs, "images", ".npz")),
        "model.source": str(_model_file(model, inputs)),
        "train.epochs": 0,
        **(settings or {}),
    }
    loaded = config.load(None, [f"{key}={_toml(key, value)}" for key, value in wanted.items()])
    request = commands.RunRequest(("all",), folder, command="pipeline.optimize")
    return Optimized(commands.run_stages(request, loaded), folder)


def _toml(key: str, value: Any) -> str:
    """A setting's value as the command line takes it: JSON and TOML write these alike."""
    if isinstance(value, (tuple, list)):
        value = list(value)
    if not isinstance(value, (str, int, float, bool, list)):
        raise SettingsError(
            f"{key}: got {shown(value)}, expected a string, a number, true, false or a list",
            "leave out a setting to keep its default",
        )
    return json.dumps(value)


def _archive(train: Arrays, test: Arrays) -> bytes:
    given = {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}
    arrays: dict[str, Any] = dict(each for key, part in given.items() for each in _of(key, part))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _of(key: str, part: Named) -> Iterator[tuple[str, NDArray[Any]]]:
    """The names in an archive, as stages/datasets/npz.py reads them, and their arrays."""
    if isinstance(part, Mapping):
        yield from ((f"{key}/{name}", each) for name, each in part.items())
    else:
        yield key, part


def _model_file(model: keras.Model | str | Path, inputs: Path) -> Path:
    if isinstance(model, (str, Path)):
        return Path(model)
    # Keras writes the time into a file: saved so, the same model has the same bytes.
    from stages.models import files

    with TemporaryDirectory(dir=inputs) as draft:
        file = Path(draft, "model.keras")
        files.save(model, file)
        return _kept(file.read_bytes(), inputs, "model", ".keras")


def _kept(content: bytes, folder: Path, stem: str, suffix: str) -> Path:
    """A file in `folder` named by its content, so that a new one overwrites none."""
    digest = hashlib.sha256(content).hexdigest()[:KEY_CHARACTERS]
    file = folder / f"{stem}-{digest}{suffix}"
    with replacing(file) as draft:
        draft.write_bytes(content)
    return file
