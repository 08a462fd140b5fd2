"""A bundle as an engine that takes images: `pipeline.load`."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import contents
from pipeline.bundle.contents import Bundle
from pipeline.bundle.predictions import PREDICTIONS, Predictions
from stages.engines import records
from stages.errors import ArtifactError, DataError
from stages.results.engines import EngineRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    OneImage = str | Path | Image | NDArray[np.uint8]

Pixels = NDArray[np.uint8]
BATCH_SIZE = 32

DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)
"""What `zipfile` raises for an archive that is none, is damaged or encrypted (RuntimeError), or is
compressed in a way that it does not know (NotImplementedError, which is one)."""


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
    """An open engine that takes images; a context manager.

    Threads may share it: their calls wait for each other. For calls at the same time, load one
    for each thread.
    """

    def __init__(self, bundle: Bundle, engine: Any, opened: ExitStack) -> None:
        self.info = bundle
        self._engine, self._opened = engine, opened
        self._lock = threading.Lock()
        self._shape = bundle.input.shape
        self._signature, self._answers = bundle.signature, PREDICTIONS[bundle.output.task]
        self._is_any_batch = not (
            bundle.input.batch_size or bundle.engine.max_batch_size or bundle.input.dtype != "uint8"
        )

    def predict(
        self, images: OneImage | Iterable[OneImage], batch_size: int = BATCH_SIZE
    ) -> Predictions:
        """What the engine says of `images`, one or any number of them: see predictions.py.

        An image is pixels uint8 (H, W, C) of the network's size, the path of a file of any size,
        or an open PIL image; an array (N, H, W, C) is a batch, which runs in one call if the
        engine takes it. Files are read `batch_size` at a time.
        Raises DataError for what is no such image, EngineError where the engine fails.
        """
        if isinstance(images, np.ndarray):
            return self._predictions(self._run(self._batch(images)))
        if isinstance(images, (str, Path)) or not isinstance(images, Iterable):
            images = [images]
        found = [self._run(pixels) for pixels in self._batches(images, batch_size)]
        if not found:
            raise DataError("got no image to predict, expected one or more")
        return self._predictions(np.concatenate(found))

    def read(self, image: OneImage) -> Pixels:
        """One image as the network sees it: uint8 (H, W, C). Raises DataError."""
        height, width, _ = self._shape
        if isinstance(image, np.ndarray):
            pixels = self._batch(image)
            if len(pixels) > 1:
                raise DataError(f"an array of {len(pixels)} images, expected one", "give it alone")
            first: Pixels = pixels[0]
            return first
        if isinstance(image, (str, Path)):
            return self.read_file(Path(image))[0]
        # Not at the top: who has arrays needs no Pillow.
        from stages.datasets import image_files

        return image_files.pixels(image, self._mode(), (width, height))

    def read_file(self, file: Path) -> tuple[Pixels, tuple[str, ...]]:
        """An image file as the network sees it, and what was done to it: see image_files.py.

        Raises DataError.
        """
        from stages.datasets import image_files

        height, width, _ = self._shape
        return image_files.read(file, self._mode(), (width, height))

    def _mode(self) -> str:
        if self.info.input.mode is None:
            raise DataError(
                f"the network takes {self._shape[2]} channels, which no image file has",
                "give it arrays",
            )
        return self.info.input.mode

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        self._opened.close()

    def __enter__(self) -> BundledEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _predictions(self, outputs: NDArray[np.float32]) -> Predictions:
        return self._answers(outputs, self._signature)

    def _batches(self, images: Iterable[OneImage], batch_size: int) -> Iterator[Pixels]:
        left = iter(images)
        while batch := list(islice(left, batch_size)):
            yield np.stack([self.read(image) for image in batch])

    def _batch(self, pixels: NDArray[Any]) -> Pixels:
        """`pixels` as uint8 (N, H, W, C), C-contiguous. Raises DataError."""
        if pixels.dtype != np.uint8:
            raise DataError(
                f"the images are {pixels.dtype}, expected uint8 pixels from 0 to 255",
                "give the pixels as they are: the engine scales them itself",
            )
        if pixels.shape[1:] != self._shape:
            pixels = self._with_every_axis(pixels)
        if not len(pixels):
            raise DataError("got no image to predict, expected one or more")
        return np.ascontiguousarray(pixels)

    def _with_every_axis(self, pixels: Pixels) -> Pixels:
        """One image becomes a batch, a gray image without channels has one. Raises DataError."""
        whole = (-1, *self._shape)
        shapes: Sequence[tuple[int, ...]] = [self._shape]
        if self._shape[2] == 1:
            shapes = [self._shape, self._shape[:2]]
            if pixels.ndim == 3 and pixels.shape[1:] == self._shape[:2]:
                return pixels.reshape(whole)
        if pixels.shape in shapes:
            return pixels.reshape(whole)
        height, width, channels = self._shape
        raise DataError(
            f"the images have the shape {pixels.shape}, expected (N, {height}, {width}, "
            f"{channels}) or one image ({height}, {width}, {channels})",
            "arrays are not resized; give files or PIL images for that",
        )

    def _run(self, pixels: Pixels) -> NDArray[np.float32]:
        with self._lock:
            if self._is_any_batch:
                outputs: NDArray[np.float32] = self._engine.infer(pixels)
                return outputs
            size = self.info.engine.max_batch_size or len(pixels)
            batches = self._engine.signature.batches(pixels, size)
            return np.concatenate([self._engine.infer(batch) for batch in batches])[: len(pixels)]
