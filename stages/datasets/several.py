"""What labels are asked: one task, or one for each output of a network that has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.node_names import NAME
from stages.artifacts.signature import Signature
from stages.datasets import targets
from stages.datasets.base import DataSet, Split, Target
from stages.errors import DataError, shown
from stages.numerics import fields
from stages.tasks import base as tasks
from stages.tasks.registry import TaskName

Wanted = TaskName | Mapping[str, TaskName] | None
"""The task of the labels, or those of some outputs by name; None where the labels are to tell."""
OF_CLASSES: tuple[TaskName, ...] = ("classification", "binary")
"""Tasks of which every class has to be in the images that are trained on."""


def labels_of(given: Mapping[str, NDArray[Any]], origin: str) -> NDArray[Any]:
    """Labels by output as one array (N,) with fields, in the order given.

    Raises DataError for names that engines do not take, and for lengths that differ.
    """
    for name in given:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise DataError(
                f"{origin}: an output is named {shown(name)}, expected letters, digits, dots, "
                "dashes and underscores",
                "name it as the model names its output",
            )
    lengths = {name: len(each) if each.ndim else 0 for name, each in given.items()}
    if not lengths or len(set(lengths.values())) > 1 or not min(lengths.values()):
        counts = ", ".join(f"{count} of {name!r}" for name, count in lengths.items())
        raise DataError(
            f"{origin}: the labels are {counts or 'an empty dictionary'}, expected one of each "
            "output for each image"
        )
    if empty := [name for name, each in given.items() if 0 in each.shape]:
        raise DataError(
            f"{origin}: the labels of {empty[0]!r} have the shape {given[empty[0]].shape}, "
            "expected some for each image",
            "leave the output out, or fill them in",
        )
    return fields.joined({name: _in_a_row(each) for name, each in given.items()})


def _in_a_row(labels: NDArray[Any]) -> NDArray[Any]:
    """Class numbers in a column, as Keras has them, in a row."""
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    return labels[:, 0] if is_column and np.issubdtype(labels.dtype, np.integer) else labels


def targets_of(
    split: Split, names: tuple[str, ...], wanted: Wanted, rest: TaskName | None = None
) -> tuple[Target, ...]:
    """What the labels of a training part are asked; `names` are those of its classes, if known.

    Labels of several outputs that `wanted` leaves out are asked `rest`, or what they tell. Raises
    DataError where they leave doubt, or are not what is `wanted`.
    """
    outputs = fields.names(split.labels)
    if not outputs:
        if isinstance(wanted, Mapping) and wanted:
            raise DataError(
                f"{split.origin}: the labels are of one output, but model.tasks names "
                f"{', '.join(wanted)}",
                "give a dictionary of labels, or use model.task",
            )
        task = wanted if isinstance(wanted, str) else targets.likely_task(split)
        return (Target("", task, tasks.of(task).names(names, split.labels)),)
    if isinstance(wanted, str):
        raise DataError(
            f"{split.origin}: the labels are of the outputs {', '.join(outputs)}, but model.task "
            f"is {wanted!r}",
            f"say it of each: --set 'model.tasks={{{outputs[0]} = \"{wanted}\"}}'",
        )
    wanted = wanted or {}
    if unknown := [name for name in wanted if name not in outputs and wanted[name] != "raw"]:
        raise DataError(
            f"{split.origin}: model.tasks names {unknown[0]!r}, but the labels are of the outputs "
            f"{', '.join(outputs)}",
            "use these names",
        )
    others = {name: rest for name in outputs if name not in wanted}
    return tuple(_target(split, name, task) for name, task in [*wanted.items(), *others.items()])


def _target(split: Split, name: str, wanted: TaskName | None) -> Target:
    if wanted == "raw":
        return Target(name, wanted, ())
    split = of(split, name)
    task = wanted or targets.likely_task(split, f"'model.tasks={{{{{name} = \"{{}}\"}}}}'")
    return Target(name, task, tasks.of(task).names((), split.labels))


def targets_in(signature: Signature) -> tuple[Target, ...]:
    """What the outputs of a network with this signature are asked."""
    return tuple(
        Target(each.output_name if signature.heads else "", each.task, each.class_names)
        for each in signature.each
    )


def asked_by(signature: Signature, split: Split) -> tuple[Target, ...]:
    """The same, and further labels of `split` where a metric of the user's is given these."""
    asked = targets_in(signature)
    known = {each.name for each in asked}
    more = [name for name in fields.names(split.labels) if name not in known]
    return (*asked, *(Target(name, "raw", ()) for name in more if signature.metric))


def wanted_by(signature: Signature) -> tuple[Wanted, TaskName | None]:
    """The task, or tasks, of a network with this signature, for `load_dataset`."""
    if not signature.heads:
        return signature.task, None
    tasks_of = {each.name: each.task for each in targets_in(signature)}
    return tasks_of, "raw" if signature.metric else None


def asked_as(dataset: DataSet, signature: Signature) -> DataSet:
    """`dataset` with the tasks that `signature` says, its labels in the order of the outputs."""
    if not signature.heads:
        return replace(dataset, task=signature.task)
    asked = asked_by(signature, dataset.train)

    def ordered(split: Split) -> Split:
        labels = {each.name: _labels(split, each.name) for each in asked}
        return replace(split, labels=fields.joined(labels))

    return replace(
        dataset,
        outputs=asked,
        train=ordered(dataset.train),
        validation=ordered(dataset.validation),
        calibration=ordered(dataset.calibration),
        test=ordered(dataset.test),
    )


def of(split: Split, name: str) -> Split:
    """`split` with the labels of one output; of "", the only one, itself."""
    if not name:
        return split
    origin = f"{split.origin}, output {name!r}"
    return replace(split, labels=_labels(split, name), strata=None, origin=origin)


def _labels(split: Split, name: str) -> NDArray[Any]:
    """Those of an output: (N, 0) where it has none."""
    if name in fields.names(split.labels):
        found: NDArray[Any] = split.labels[name]
        return found
    return np.empty((len(split), 0), np.float32)


def checked(split: Split, asked: Sequence[Target], part: str) -> Split:
    """`split` with labels in the form of the tasks that are `asked`, and strata.

    Several outputs come in the order of `asked`; the first with classes has its share of each in
    every split. Raises DataError.
    """
    if not asked[0].name:
        if names := fields.names(split.labels):
            raise DataError(
                f"{split.origin}: the {part} labels are of the outputs {', '.join(names)}, "
                "expected those of one output",
                "give labels of the same form for every part",
            )
        return targets.checked(split, asked[0].task, asked[0].class_names, part)
    wanted, found = {each.name for each in asked}, set(fields.names(split.labels))
    unlabelled = {each.name for each in asked if each.task == "raw"} - found
    if wanted - unlabelled != found:
        raise DataError(
            f"{split.origin}: the {part} labels are of {', '.join(sorted(found)) or 'one output'}, "
            f"expected {', '.join(sorted(wanted - unlabelled))}",
            "give labels of the same outputs for every part",
        )
    parts = {
        each.name: targets.checked(of(split, each.name), each.task, each.class_names, part)
        for each in asked
    }
    # By name, not by place: the order of the outputs is known only when the network is.
    first = min(
        asked, key=lambda each: (each.task not in OF_CLASSES, each.task == "raw", each.name)
    )
    strata = parts[first.name].strata
    return replace(
        split,
        labels=fields.joined({name: each.labels for name, each in parts.items()}),
        strata=parts[first.name].labels if strata is None else strata,
    )


def check_learnable(split: Split, asked: Sequence[Target]) -> None:
    """Raises DataError where the training part does not have what is to be told apart."""
    for each in asked:
        targets.check_learnable(of(split, each.name), each.task, each.class_names)


def check_judged(data: DataSet) -> None:
    """Raises DataError where a metric says nothing of a part, whatever is answered."""
    for part, split in (("validation", data.validation), ("test", data.test)):
        for each in data.targets:
            targets.check_judged(of(split, each.name), each.task, each.class_names, part)
