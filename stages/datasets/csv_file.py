"""A CSV file of image files and labels: see csv_parts.py for its columns."""

from __future__ import annotations

import numpy as np

from stages.datasets import labelled_files
from stages.datasets.base import Part, Split
from stages.datasets.csv_parts import parts, sorted_labels
from stages.datasets.labelled_files import Form, LabelledFiles
from stages.settings import Data


def class_names(settings: Data) -> tuple[str, ...]:
    """The labels of the training part, sorted: as numbers if all are whole numbers, else as text.

    Raises DataError for a file that is not fit.
    """
    return sorted_labels(parts(settings)["train"].labels)


def read(settings: Data, part: Part) -> Split:
    """All images of one part, in the order of the rows: uint8 (N, H, W, C) on disk.

    Size and channels are those of the first training image, as in folder.py. Raises DataError for
    a file that is not fit, and for an image that is not unless data.skip_bad_images leaves it out.
    """
    both = parts(settings)
    rows, names = both[part], sorted_labels(both["train"].labels)
    numbers = {name: label for label, name in enumerate(names)}
    given = LabelledFiles(
        rows.files,
        np.array([numbers[label] for label in rows.labels], np.int64),
        owner=f"{rows.table} {part}",
        named=lambda label: f"the class {names[label]!r} of the {part} part",
        groups=np.unique(rows.groups, return_inverse=True)[1] if rows.groups else None,
    )
    first = labelled_files.form_of_first(both["train"].files, settings.skip_bad_images)
    return labelled_files.read(given, first, settings)


def form(settings: Data) -> Form:
    """That of the first training image that is fit. Raises DataError."""
    return labelled_files.form_of_first(parts(settings)["train"].files, settings.skip_bad_images)
