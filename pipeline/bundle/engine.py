"""A bundle as an engine that takes images, signals or volumes, or several: `pipeline.load`."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import arrays, contents
from pipeline.bundle.contents import Bundle
from pipeline.bundle.predictions import PREDICTIONS, Predictions
from stages.artifacts.archives import DAMAGED
from stages.engines import records
from stages.errors import ArtifactError, DataError
from stages.results.engines import EngineRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    Sample = str | Path | Image | NDArray[Any] | Mapping[str, NDArray[Any]]

BATCH_SIZE = 32


def load(path: str | Path, threads: int | None = None) -> BundledEngine:
    """Open the bundle `path`, a folder or a zip archive, and check every byte of it.

    `threads` replaces the number that the engine was measured with.
    Raises ArtifactError for what is no bundle or was changed, EngineError where it cannot run.
    """
    with ExitStack() as opened:
        folder = Path(path)
        if folder.is_file():
            folder = _unpacked(folder, opened)
        bundle = contents.read(folder)
        record = EngineRecord(
            backend=bundle.engine.backend,
            precision=bundle.engine.precision,
            file=bundle.engine.file,
        )
        used = bundle.engine.threads if threads is None else threads
        runner = records.runner(record, folder, bundle.signature, used)
        opened.enter_context(runner)
        return BundledEngine(bundle, runner, opened.pop_all())


def _unpacked(archive: Path, opened: ExitStack) -> Path:
    """The bundle in a zip archive, in a folder that goes when `opened` is closed."""
    folder = Path(opened.enter_context(TemporaryDirectory(prefix="bundle-")))
    try:
        with zipfile.ZipFile(archive) as stream:
            stream.extractall(folder)
    except DAMAGED as error:
        raise ArtifactError(
            f"{str(archive)!r} is no bundle: {error}", "name what `pipeline export` wrote"
        ) from error
    return folder


class BundledEngine:
    """An open engine; a context manager.

    Threads may share it: their calls wait for each other. For calls at the same time, load one
    for each thread.
    """

    def __init__(self, bundle: Bundle, engine: Any, opened: ExitStack) -> None:
        self.info = bundle
        self._engine, self._opened = engine, opened
        self._lock = threading.Lock()
        self._signature, self._answers = bundle.signature, PREDICTIONS[bundle.output.task]
        self._wanted, only = bundle.each_input, bundle.input
        self._is_any_batch = only is not None and not (
            only.batch_size or bundle.engine.max_batch_size or only.dtype != "uint8"
        )

    def predict(
        self, samples: Sample | Iterable[Sample], batch_size: int = BATCH_SIZE
    ) -> Predictions:
        """What the engine says of `samples`, one or any number of them: see predictions.py.

        A sample is an array (..., C) of the network's size, pixels uint8 or, where the network
        was trained on other values, these before they are scaled; or the path of a .npy file of
        one; of networks for images also the path of an image file of any size, or an open PIL
        image. Of several inputs it is a dictionary of arrays by their names, or the path of an .npz
        file of these. An array (N, ..., C), or a dictionary of such, is a batch, which runs in one
        call if the engine takes it.
        Files are read `batch_size` at a time.
        Raises DataError for what is no such sample, EngineError where the engine fails.
        """
        if isinstance(samples, (np.ndarray, Mapping)):
            return self._predictions(self._run(arrays.data_of(samples, self._wanted)))
        if isinstance(samples, (str, Path)) or not isinstance(samples, Iterable):
            samples = [samples]
        found = [self._run(batch) for batch in self._batches(samples, batch_size)]
        if not found:
            raise DataError(arrays.none_to_predict(self._wanted))
        return self._predictions(np.concatenate(found))

    @property
    def kind(self) -> str:
        """What it takes: "images", "signals", "volumes", or of several inputs "samples"."""
        return arrays.kind_of(self._wanted)

    def read(self, sample: Sample) -> NDArray[Any]:
        """One sample as `predict` takes it: (..., C), or () with a field for each of several
        inputs. Raises DataError."""
        if isinstance(sample, (np.ndarray, Mapping)):
            batch = arrays.data_of(sample, self._wanted)
            if len(batch) > 1:
                raise DataError(
                    f"an array of {len(batch)} {self.kind}, expected one", "give it alone"
                )
            return np.asarray(batch[0])
        if isinstance(sample, (str, Path)):
            return self.read_file(Path(sample))[0]
        mode, size = self._mode_and_size()
        # Not at the top: who has arrays needs no Pillow.
        from stages.datasets import image_files

        return image_files.pixels(sample, mode, size)

    def read_file(self, file: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
        """The sample in a file, and what was done to an image: see image_files.py.

        Raises DataError.
        """
        if file.suffix.lower() in arrays.SUFFIXES:
            found = arrays.samples_in(file, self._wanted)
            if len(found) != 1:
                raise DataError(f"{file} holds arrays by name", "load it, and give one of them")
            return self.read(found[0][1]), ()
        mode, size = self._mode_and_size()
        from stages.datasets import image_files

        return image_files.read(file, mode, size)

    def _mode_and_size(self) -> tuple[str, tuple[int, int]]:
        """Of image files, (width, height)."""
        wanted = self.info.input
        if wanted is None:
            what = ", ".join(f"{each.name} {each.data_dtype} {each.shape}" for each in self._wanted)
            raise DataError(
                f"the network takes {what}, which no image file holds",
                "give it dictionaries of arrays, or .npz files",
            )
        if wanted.mode is None:
            raise DataError(
                f"the network takes {self.kind} {wanted.data_dtype} {wanted.shape}, which no image "
                "file holds",
                "give it arrays, or .npy files",
            )
        height, width = wanted.shape[:2]
        return wanted.mode, (width, height)

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        self._opened.close()

    def __enter__(self) -> BundledEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predictions(self, outputs: NDArray[np.float32]) -> Predictions:
        return self._answers(outputs, self._signature)

    def _batches(self, samples: Iterable[Sample], batch_size: int) -> Iterator[NDArray[Any]]:
        left = iter(samples)
        while batch := list(islice(left, batch_size)):
            yield np.stack([self.read(sample) for sample in batch])

    def _run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:
            if self._is_any_batch:
                outputs: NDArray[np.float32] = self._engine.infer(values)
                return outputs
            size = self.info.engine.max_batch_size or len(values)
            batches = self._engine.signature.batches(values, size)
            return np.concatenate([self._engine.infer(batch) for batch in batches])[: len(values)]
