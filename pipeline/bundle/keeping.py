"""What `pipeline predict --to FOLDER` writes: answers.csv, and a mask for each image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import answers
from pipeline.bundle.answers import Answer
from stages.errors import ArtifactError, SettingsError

TABLE = "answers.csv"


@contextmanager
def new(folder: Path) -> Iterator[Path]:
    """A folder that becomes `folder` at the end: whole or not at all, and not if it is empty.

    Raises SettingsError where something of that name exists, ArtifactError where nothing can be
    written.
    """
    if os.path.lexists(folder):
        raise SettingsError(
            f"{str(folder)!r} exists, and is not overwritten", "name a path that does not exist"
        )
    with ExitStack() as stack:
        with _told(folder):
            parent = folder.absolute().parent
            parent.mkdir(parents=True, exist_ok=True)
            draft = stack.enter_context(TemporaryDirectory(prefix=".predict-", dir=parent))
            content = Path(draft, "answers")
            content.mkdir()
        yield content
        with _told(folder):
            if any(content.iterdir()):
                content.rename(folder)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"cannot write to {str(folder)!r}: {error.strerror}", "choose another path"
        ) from error


def kept(said: Iterable[Answer], folder: Path, is_coloured: bool) -> Iterator[Answer]:
    """Write each of the answers into `folder` and hand it on, with the name of its mask."""
    written = (_with_mask(answer, folder, is_coloured) for answer in said)
    first = next(written, None)
    if first is None:
        return
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        for number, answer in enumerate(chain([first], written)):
            table.writelines(answers.csv_lines(answer, is_first=number == 0))
            yield answer


def _with_mask(answer: Answer, folder: Path, is_coloured: bool) -> Answer:
    if answer.mask is None:
        return answer
    from PIL import Image  # What else is answered needs no Pillow.

    image = Image.fromarray(answer.mask)
    if is_coloured:
        image.putpalette(palette().tobytes())
    file = _free(folder, answer.name)
    image.save(file)
    named = {"mask_file": file.name}
    return replace(
        answer,
        words=f"{answer.words}  {file.name}",
        row=named | answer.row,
        content=named | answer.content,
    )


def _free(folder: Path, image: str) -> Path:
    """The image's name as that of a PNG file, with a number where another one has it."""
    stem = "".join(each if each.isalnum() or each in "._-" else "_" for each in Path(image).stem)
    tries = chain([f"{stem}.png"], (f"{stem}-{number}.png" for number in count(2)))
    return next(file for name in tries if not (file := folder / name).exists())


def palette() -> NDArray[np.uint8]:
    """A colour for each class, (256, 3): black for the first one, far apart for those next to it.

    The colours of Pascal VOC (Everingham et al., 2010): bit 3 k + c of the number of a class is
    bit 7 - k of channel c.
    """
    classes, channels = np.arange(256)[:, None], np.arange(3)
    bits = [(classes >> (3 * k + channels) & 1) << (7 - k) for k in range(8)]
    colours: NDArray[np.uint8] = np.bitwise_or.reduce(bits).astype(np.uint8)
    return colours
