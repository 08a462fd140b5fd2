"""What `pipeline predict` says of an image, by task: as a line, as a row of CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle.predictions import (
    BinaryPredictions,
    ClassPredictions,
    LabelPredictions,
    MaskPredictions,
    Predictions,
    RawPredictions,
    SeveralPredictions,
    ValuePredictions,
)
from stages.tasks.registry import TaskName

TOP = 3


@dataclass(frozen=True)
class Answer:
    """What is said of the image `name`.

    words    what follows the name on a line
    row      the cells of CSV by column
    content  what follows the name in an object of JSON
    masks    the class of each pixel, uint8 (H, W), by output; that of the only one is ""
    """

    name: str
    words: str
    row: dict[str, str]
    content: dict[str, Any]
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def of(found: Predictions, names: Sequence[str], top: int = TOP) -> Iterator[Answer]:
    """An answer for each of the images called `names`; of classes the `top` most likely."""
    if isinstance(found, ClassPredictions):
        return map(_of_classes, names, found.top(top))
    if isinstance(found, SeveralPredictions):
        return _of_several(found, names, top)
    return TASKS[found.signature.task](found, names)


def _of_classes(name: str, top: list[tuple[str, float]]) -> Answer:
    row: dict[str, str] = {}
    for rank, (label, share) in enumerate(top, 1):
        row |= {f"class_{rank}": label, f"probability_{rank}": f"{share:.6f}"}
    best = [{"class": label, "probability": round(share, 6)} for label, share in top]
    return Answer(name, _in_percent(dict(top)), row, {"top": best})


def _in_percent(shares: dict[str, float]) -> str:
    return "  ".join(f"{label} {share:.1%}" for label, share in shares.items())


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {label: round(share, 6) for label, share in shares.items()}


def _of_binary(found: BinaryPredictions, names: Sequence[str]) -> Iterator[Answer]:
    yes, threshold = found.names[1], found.threshold
    for name, label, share in zip(names, found.labels, found.probabilities.tolist(), strict=True):
        words = f"{label}  probability of {yes} {share:.1%}, threshold {threshold:.1%}"
        row = {"class": label, "probability": f"{share:.6f}"}
        yield Answer(name, words, row, {"class": label, "probability": round(share, 6)})


def _of_labels(found: LabelPredictions, names: Sequence[str]) -> Iterator[Answer]:
    for name, labels, every in zip(names, found.labels, found.probabilities.tolist(), strict=True):
        shares = dict(zip(found.names, every, strict=True))
        row: dict[str, str] = {}
        for label, share in shares.items():
            row |= {label: str(int(label in labels)), f"{label}_probability": f"{share:.6f}"}
        words = _in_percent(labels) or f"none of {len(found.names)} labels"
        content = {"labels": list(labels), "probabilities": _rounded(shares)}
        yield Answer(name, words, row, content)


def _of_values(found: ValuePredictions, names: Sequence[str]) -> Iterator[Answer]:
    for name, values in zip(names, found.named, strict=True):
        words = "  ".join(f"{key}: {value:.6g}" for key, value in values.items())
        # Nine digits are what a float32 needs to be the same again.
        row = {key: f"{value:.9g}" for key, value in values.items()}
        yield Answer(name, words, row, {"values": values})


def _of_masks(found: MaskPredictions, names: Sequence[str]) -> Iterator[Answer]:
    for name, mask, shares in zip(names, found.masks, found.shares.tolist(), strict=True):
        of_class = dict(zip(found.names, shares, strict=True))
        largest = sorted(of_class.items(), key=lambda pair: -pair[1])
        words = _in_percent({label: share for label, share in largest if share})
        row = {label: f"{share:.6f}" for label, share in of_class.items()}
        yield Answer(name, words, row, {"shares": _rounded(of_class)}, {"": mask})


def _of_raw(found: RawPredictions, names: Sequence[str]) -> Iterator[Answer]:
    for name, values in zip(names, found.values, strict=True):
        shape = " x ".join(map(str, values.shape))
        found_values = values.tolist()
        # In one cell: how many columns there would be says the network alone.
        row = {"values": json.dumps(found_values)}
        yield Answer(name, f"{shape or 1} values", row, {"values": found_values})


def _of_several(found: SeveralPredictions, names: Sequence[str], top: int) -> Iterator[Answer]:
    """One answer of those of all outputs, under their names."""
    said = {output: of(each, names, top) for output, each in found.by_output.items()}
    for name in names:
        each = {output: next(answers) for output, answers in said.items()}
        yield Answer(
            name,
            "; ".join(f"{output}: {answer.words}" for output, answer in each.items()),
            {
                f"{output}.{column}": cell
                for output, answer in each.items()
                for column, cell in answer.row.items()
            },
            {output: answer.content for output, answer in each.items()},
            {output: mask for output, answer in each.items() for mask in answer.masks.values()},
        )


TASKS: dict[TaskName, Callable[[Any, Sequence[str]], Iterator[Answer]]] = {
    "binary": _of_binary,
    "multilabel": _of_labels,
    "regression": _of_values,
    "segmentation": _of_masks,
    "raw": _of_raw,
}


def columns(task: TaskName, names: Sequence[str]) -> list[str]:
    """Those of CSV for these classes, labels or values, as far as these have a part in them."""
    if task == "multilabel":
        return ["image", *names, *(f"{name}_probability" for name in names)]
    own: dict[TaskName, list[str]] = {"regression": [], "segmentation": ["mask_file"]}
    return ["image", *own[task], *names] if task in own else ["image"]


def as_table(answers: Iterable[Answer]) -> Iterator[str]:
    """A line for each."""
    return (f"{answer.name}  {answer.words}\n" for answer in answers)


def as_csv(answers: Iterable[Answer]) -> Iterator[str]:
    """A row for each, below the names of the columns."""
    for number, answer in enumerate(answers):
        yield from csv_lines(answer, is_first=number == 0)


def csv_lines(answer: Answer, is_first: bool) -> Iterator[str]:
    """The row of an answer, below the names of the columns if it is the first one."""
    if is_first:
        yield _line("image", *answer.row)
    yield _line(answer.name, *answer.row.values())


def _line(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def as_json(answers: Iterable[Answer]) -> Iterator[str]:
    """One list of objects."""
    start = "[\n"
    for answer in answers:
        yield start + " " + json.dumps({"image": answer.name, **answer.content}, ensure_ascii=False)
        start = ",\n"
    yield "[]\n" if start == "[\n" else "\n]\n"


FORMATS: dict[str, Callable[[Iterable[Answer]], Iterator[str]]] = {
    "table": as_table,
    "json": as_json,
    "csv": as_csv,
}
