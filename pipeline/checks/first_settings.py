"""`pipeline init`: looks at a model and a data set, and writes the settings that suit both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.checks.aside import run_aside
from pipeline.core.display import Display
from pipeline.core.plan import Stage
from stages.artifacts.signature import scaling_in_words
from stages.datasets.registry import DATASETS
from stages.errors import SettingsError, shown
from stages.results.asides import Findings
from stages.settings import Settings, TrainStage
from stages.settings.meaning import meanings
from stages.settings.networks import APPLICATIONS, NETWORKS
from stages.tasks.registry import MAIN, TaskName, metric

LOOK = Stage(
    name="init",
    revision=1,
    module="stages.training.look",
    settings=TrainStage,
    result=Findings,
    needs=(),
    process="tensorflow",
)
"""No row of the plan: what it finds becomes settings."""

MODEL_FILE = re.compile(r".*\.(keras|h5|hdf5)|[\w.]+:\w+")
"""A model's file, or module:function."""

NAMED = [name for name in DATASETS if name not in ("npz", "folder", "masks", "csv", "source")]
"""Data sets that need no path."""

WHERE = (
    *("name", "kind", "path", "test_path", "split_column", "file_column", "label_column"),
    *("target_columns", "mask_column", "group_column", "source", "version"),
)
"""Settings of `data` that say where images and labels are."""
ASKED = {"model": ("task", "tasks"), "quality": ("metric", "higher_is_better")}
"""Those that say what the network is asked, where labels and network do not."""

OFTEN_CHANGED = (
    ("prune", ("ratio", "epochs")),
    ("quantize", ("epochs",)),
    ("build", ("backends",)),
    ("gates", ("max_accuracy_drop",)),
)
MOST_NAMES = 10
NAMES: dict[TaskName, str] = {"multilabel": "labels", "regression": "values"}
"""What the names of a data set are names of, where not of classes."""


@dataclass(frozen=True)
class Part:
    """A sentence on what was found, and the settings of `section` that follow from it."""

    section: str
    sentence: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def settings_of(words: Sequence[str]) -> list[str]:
    """What a model and a data set, in either order, are as settings "section.key=value".

    Raises SettingsError for a word that is neither, and for two of one kind.
    """
    given: dict[str, str] = {}
    found = []
    for word in words:
        kind, settings = _meaning(word)
        if kind in given:
            raise SettingsError(
                f"{shown(given[kind])} and {shown(word)} are both a {kind}, expected one of each",
                "as in: pipeline init network.keras photos",
            )
        given[kind] = word
        found += settings
    return found


def _meaning(word: str) -> tuple[str, list[str]]:
    as_text = config.toml_value(word)
    if word in (*NETWORKS, *APPLICATIONS):
        return "model", [f"model.name={as_text}"]
    if "://" not in word and MODEL_FILE.fullmatch(word):
        return "model", [f"model.source={as_text}"]
    if word in NAMED:
        return "data set", [f"data.name={as_text}"]
    if "://" not in word and not Path(word).exists():
        raise SettingsError(
            f"{shown(word)} is no file or folder, no data set and no network",
            "expected a .keras or .h5 file or module:function, and a folder of images, a .csv, an "
            f".npz, or one of {', '.join(NAMED)}",
        )
    name = "csv" if Path(word).suffix.lower() == ".csv" else "npz"
    if Path(word).is_dir():
        has_masks = all((Path(word) / "train" / name).is_dir() for name in ("images", "masks"))
        name = "masks" if has_masks else "folder"
    return "data set", [f'data.name="{name}"', f"data.path={as_text}"]


def refuse_others(overrides: Sequence[str]) -> None:
    """Only where the data are, and what is asked, can be set: the rest is found. Raises
    SettingsError."""
    asked = [f"{section}.{name}" for section, names in ASKED.items() for name in names]
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key not in (*asked, *(f"data.{name}" for name in WHERE)):
            raise SettingsError(
                f"init got --set {shown(key)}, expected one of {', '.join(WHERE)} of data, or of "
                f"{', '.join(asked)}",
                "init finds the others; change them in pipeline.toml",
            )


def look(settings: Settings, artifacts: Path, display: Display) -> Findings:
    """Look at the model and the data set of `settings`, in a child process.

    Raises what a stage raises.
    """
    display.start(LOOK.name, "look at model and data")
    result = run_aside(LOOK, settings, artifacts, display)
    if not isinstance(result, Findings):
        raise TypeError(f"{LOOK.module} returned a {type(result).__name__}")
    return result


def describe(found: Findings, settings: Settings) -> list[Part]:
    """What was found, with the settings that follow, in the order of the file."""
    return [*_of_data(found, settings), *_of_model(found, settings)]


def _of_data(found: Findings, settings: Settings) -> Iterator[Part]:
    data, counted = settings.data, found.dataset
    named = {key: value for key in WHERE if (value := getattr(data, key))}
    if data.kind == "images":
        del named["kind"]
    what = f"inputs {_size(found)}" if found.inputs else f"{data.kind} of {_size(found)}"
    yield Part(
        "data",
        f"{_of_labels(found)}, {what}, "
        f"{counted.train_samples:,} to train, {counted.validation_samples:,} to validate, "
        f"{counted.calibration_samples:,} to calibrate, {counted.test_samples:,} to test",
        named,
    )
    if found.image_size:
        yield Part("data", "all images are resized to this", {"image_size": found.image_size})
    if found.calibration_samples != data.calibration_samples:
        yield Part(
            "data",
            f"fewer than the usual {data.calibration_samples}, for there are few images",
            {"calibration_samples": found.calibration_samples},
        )
    if not found.inputs or any(each.dtype == "uint8" for each in found.inputs):
        yield Part("data", _pixels(found), {"scale": found.scale, "offset": found.offset})


def _size(found: Findings) -> str:
    """ "28 x 28 x 1", or "camera (28 x 28 x 1 uint8), table (4 float32)"."""
    each = (f"{one.name} ({_times(one.shape)} {one.dtype})" for one in found.inputs)
    return ", ".join(each) if found.inputs else _times(found.input_shape)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _of_labels(found: Findings) -> str:
    if found.outputs:
        each = (f"{one.name} ({_counted(one.task, one.classes)})" for one in found.outputs)
        return f"outputs {', '.join(each)}"
    return f"{_counted(found.task, found.classes)} ({_listed(found.classes)})"


def _counted(task: TaskName, names: Sequence[str]) -> str:
    """ "10 classes"; of what has no names the task."""
    return f"{len(names)} {NAMES.get(task, 'classes')}" if names else task


def _pixels(found: Findings) -> str:
    words = scaling_in_words(found.scale, found.offset)
    own = f", for the model scales its own pixels ({', '.join(found.own_scaling)})"
    judged = f": {_right(found)} so" if found.is_trained else ""
    return f"the model sees pixels with {words}{own * bool(found.own_scaling)}{judged}"


def _right(found: Findings) -> str:
    hits, samples = found.hits or 0, found.samples or 1
    if found.score is not None:
        words = metric(found.metric or MAIN[found.task]).words
        return f"{words} is {100 * found.score:.1f} % on {samples:,} validation images"
    return f"{100 * hits / samples:.1f} % of {samples:,} validation images are right"


def _of_model(found: Findings, settings: Settings) -> Iterator[Part]:
    name = settings.model.source or found.network
    returned = (
        ", ".join(f"{one.name} ({one.output})" for one in found.outputs)
        or f"{len(found.classes)} {found.output}"
    )
    what = f"{name} takes {_size(found)}, returns {returned}, {found.parameters:,} parameters"
    asked = {key: value for key in ASKED["model"] if (value := getattr(settings.model, key))}
    if settings.quality.metric:
        better = settings.quality.higher_is_better
        yield Part(
            "quality",
            "what decides in place of the metric of the task",
            {"metric": settings.quality.metric, "higher_is_better": better},
        )
    if settings.model.source is None:
        yield Part("model", what, {"name": found.network, **asked})
        epochs = {"epochs": settings.train.epochs}
        yield Part("train", "the network is new, and is trained for this many epochs", epochs)
        return
    yield Part("model", what, {"source": settings.model.source, **asked})
    if found.is_trained:
        yield Part("train", "the model is trained, and taken as it is", {"epochs": 0})
    else:
        yield Part(
            "train",
            f"{_right(found)}, no more than luck explains: the model is trained first",
            {"epochs": settings.train.epochs},
        )


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*names[:MOST_NAMES], *more])


def to_toml(parts: Sequence[Part], command: str) -> str:
    """The file: what was found with its sentences, and what is often changed as comments."""
    lines = [*config.comment(f"Written by: {command}"), "# All settings: pipeline config", ""]
    for section in dict.fromkeys(part.section for part in parts):
        lines.append(f"[{section}]")
        for part in parts:
            if part.section == section:
                lines += config.comment(part.sentence)
                lines += [
                    f"{key} = {config.toml_value(value)}" for key, value in part.settings.items()
                ]
        lines.append("")
    defaults = Settings()
    for section, keys in OFTEN_CHANGED:
        own = getattr(defaults, section)
        texts = meanings(type(own))
        lines.append(f"[{section}]")
        for key in keys:
            value = getattr(own, key)
            written = config.toml_value(1.0 if value is None else value)
            lines += [*config.comment(texts[key]), f"# {key} = {written}"]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"
