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
    written = (_with_masks(answer, folder, is_coloured) for answer in said)
    first = next(written, None)
    if first is None:
        return
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        for number, answer in enumerate(chain([first], written)):
            table.writelines(answers.csv_lines(answer, is_first=number == 0))
            yield answer


def _with_masks(answer: Answer, folder: Path, is_coloured: bool) -> Answer:
    for output, mask in answer.masks.items():
        file = _written(mask, folder, answer.name, output, is_coloured)
        column = f"{output}.mask_file" if output else "mask_file"
        content = answer.content
        if output:
            content = {**content, output: {"mask_file": file.name, **content[output]}}
        else:
            content = {"mask_file": file.name, **content}
        answer = replace(
            answer,
            words=f"{answer.words}  {file.name}",
            row={column: file.name, **answer.row},
            content=content,
        )
    return answer


def _written(
    mask: NDArray[np.uint8], folder: Path, image: str, output: str, is_coloured: bool
) -> Path:
    """The new PNG file of a mask."""
    from PIL import Image  # What else is answered needs no Pillow.

    picture = Image.fromarray(mask)
    if is_coloured:
        picture.putpalette(palette().tobytes())
    file = _free(folder, image, output)
    picture.save(file)
    return file


def _free(folder: Path, image: str, output: str) -> Path:
    """The names of image and output as that of a PNG file, with a number where another has it."""
    name = f"{Path(image).stem}-{output}" if output else Path(image).stem
    stem = "".join(each if each.isalnum() or each in "._-" else "_" for each in name)
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
