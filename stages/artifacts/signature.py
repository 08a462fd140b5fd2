"""Input and output of a model, in a small file that travels with every artifact."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stages.errors import ArtifactError, shown
from stages.numerics import fields
from stages.tasks.registry import TASKS, Output, TaskName, metric, metric_of, own_metric

FILE = "signature.json"
SHAPES = ("output_shape", "thresholds", "trained_thresholds")
DataType = Literal["uint8", "float32"]
LAYOUTS = {1: "NC", 2: "NLC", 3: "NHWC", 4: "NDHWC"}
"""By the number of axes of one sample."""

Fed = Any
"""What a network is given: an array (N, ...), or the list of those of several inputs."""


def rows(fed: Fed) -> int:
    """How many samples `fed` holds, which of several inputs is not its length."""
    return len(fed[0] if isinstance(fed, list) else fed)


def some(fed: Fed, where: slice) -> Fed:
    """These samples of `fed`."""
    return [each[where] for each in fed] if isinstance(fed, list) else fed[where]


def scaling_in_words(scale: float, offset: float) -> str:
    """ "scale 1/255", "scale 1/127.5 and offset -1"."""
    per = f"{1 / scale:.6g}"
    short = f"1/{per}" if abs(scale) < 1 and float(per) * scale == 1 else f"{scale:.6g}"
    return f"scale {short}" + (f" and offset {offset:g}" if offset else "")


@dataclass(frozen=True)
class Input:
    """One of several inputs: as the fields of a Signature that have these names."""

    name: str
    input_shape: tuple[int, ...]
    scale: float
    offset: float
    layout: str
    dtype: DataType
    data_dtype: DataType


@dataclass(frozen=True)
class Head:
    """One of several outputs: as the fields of a Signature that have these names."""

    name: str
    task: TaskName
    output: Output
    class_names: tuple[str, ...]
    output_shape: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    trained_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Input and output of a network, and what it is asked.

    `input_shape` is one image without the batch, as in (28, 28, 1) with layout "NHWC", or one
    signal (length, channels) or volume. `data_dtype` is that of the data, "uint8" or "float32". The
    model sees `value * scale + offset` and returns `output_shape` for one image, () for one value
    per class: `output` says whether a value is a logit, a probability or a value itself.
    `class_names` name the classes of `task`, or what else it tells: stages/tasks. A probability of
    at least its threshold in `thresholds`, if there are any, is a yes; `trained_thresholds` are
    those of the trained model, which travels along. `dtype` is what is fed:
    "float32" after `preprocess`, or "uint8" pixels where the graph does that itself.
    `batch_size` is the only one that the graph takes; 0 stands for any.

    A network with several outputs has `heads`, in the order of its outputs, in place of one name,
    shape and so on; `each` has them as signatures of one output. What such a network returns is an
    array with a field for each (numerics/fields.py).

    A network with several inputs has `inputs` likewise, in the order of its inputs, which may be
    vectors (K,) as well, and `each_input`. `input_shape`, `scale`, `offset`, `input_name`,
    `layout`, `dtype` and `data_dtype` of the signature itself then mean nothing. Its images are an
    array with a field for each, and it is given a list of arrays.

    `metric` is a function of the user's that decides in place of the task's, and `higher_is_better`
    says how; `metric_sha256` is that of its code, so that all that was judged by it is stale once
    it changes.
    """

    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    scale: float
    offset: float
    input_name: str = "image"
    output_name: str = "logits"
    output: Output = "logits"
    layout: str = "NHWC"
    dtype: str = "float32"
    batch_size: int = 0
    task: TaskName = "classification"
    output_shape: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()
    trained_thresholds: tuple[float, ...] = ()
    data_dtype: DataType = "uint8"
    heads: tuple[Head, ...] = ()
    inputs: tuple[Input, ...] = ()
    metric: str = ""
    metric_sha256: str = ""
    higher_is_better: bool = True

    @property
    def each(self) -> tuple[Signature, ...]:
        """The signature of every output by itself: of one output this one."""
        return tuple(self._of(head) for head in self.heads) or (self,)

    def _of(self, head: Head) -> Signature:
        own = {field.name: getattr(head, field.name) for field in dataclasses.fields(head)}
        return dataclasses.replace(self, heads=(), metric="", output_name=own.pop("name"), **own)

    @property
    def each_input(self) -> tuple[Signature, ...]:
        """The signature of every input by itself: of one input this one."""
        return tuple(map(self._of_input, self.inputs)) or (self,)

    def _of_input(self, source: Input) -> Signature:
        own = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
        return dataclasses.replace(self, inputs=(), input_name=own.pop("name"), **own)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the inputs, in their order."""
        # Not of `each_input`, which takes long: engines ask for these in every call.
        return tuple(each.name for each in self.inputs) or (self.input_name,)

    @property
    def counts_images(self) -> bool:
        """Whether what decides is a share of the images."""
        return self.task == "classification" and not self.metric

    @property
    def deciding(self) -> str | None:
        """What decides, as `Quality.metric` has it."""
        if self.metric:
            return own_metric(self.metric, self.higher_is_better)
        return metric_of(self.task)

    @property
    def words(self) -> str:
        """What decides, in words."""
        return "accuracy" if self.deciding is None else metric(self.deciding).words

    def labels_by_output(self, labels: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Of labels (N, ...) those of each output: there may be more, for a metric of one's own."""
        return tuple(labels[name] for name in self.output_names) if self.heads else (labels,)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Of the outputs, in their order."""
        # Not of `each`, which takes long: engines ask for these in every call.
        return tuple(head.name for head in self.heads) or (self.output_name,)

    def joined(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """What the outputs return, (N, ...) each, as one array: (N, ...), or (N,) with fields."""
        if not self.heads:
            (only,) = outputs
            return only
        return fields.joined(dict(zip(self.output_names, outputs, strict=True)))

    @property
    def of_trained(self) -> Signature:
        """That of the trained, unpruned model, which has thresholds of its own."""
        return dataclasses.replace(
            self,
            thresholds=self.trained_thresholds or self.thresholds,
            heads=tuple(
                dataclasses.replace(head, thresholds=head.trained_thresholds or head.thresholds)
                for head in self.heads
            ),
        )

    def with_trained_thresholds(self, trained: Signature) -> Signature:
        """This one, also with the thresholds of the `trained` model, of the same outputs."""
        pairs = zip(self.heads, trained.heads, strict=True)
        return dataclasses.replace(
            self,
            trained_thresholds=trained.thresholds,
            heads=tuple(
                dataclasses.replace(head, trained_thresholds=other.thresholds)
                for head, other in pairs
            ),
        )

    @property
    def shape_of_output(self) -> tuple[int, ...]:
        """What the network, with one output, returns for one image."""
        if self.task == "raw":
            return self.output_shape
        return self.output_shape or (len(self.class_names),)

    @property
    def are_pictures(self) -> bool:
        """Whether an input is an image of pixels, as a file of one holds it."""
        return self.data_dtype == "uint8" and len(self.input_shape) == 3

    def preprocess(self, images: NDArray[Any]) -> Fed:
        """Data to model input: uint8 or float32 (N, ..., C) -> float32 (N, ..., C).

        Of several inputs: (N,) with a field for each -> the list of these, C-contiguous.
        """
        if self.inputs:
            return [each.preprocess(images[each.input_name]) for each in self.each_input]
        pixels = images.astype(np.float32)
        pixels *= np.float32(self.scale)
        pixels += np.float32(self.offset)
        return pixels

    def feed(self, images: NDArray[Any]) -> Fed:
        """Data (N, ..., C) of `data_dtype` as input of the type `dtype`.

        Of several inputs: as `preprocess`, each of its own type.
        """
        if self.inputs:
            pairs = ((each, images[each.input_name]) for each in self.each_input)
            return [np.ascontiguousarray(each.feed(part)) for each, part in pairs]
        return images if self.dtype == "uint8" else self.preprocess(images)

    @property
    def scaling(self) -> tuple[float, float]:
        """Scale and offset of the only input; of several that of all that are pixels, (1, 0) where
        none is."""
        found = [each for each in self.inputs if each.data_dtype == "uint8"]
        if self.inputs:
            return (found[0].scale, found[0].offset) if found else (1.0, 0.0)
        return self.scale, self.offset

    def scaled(self, scale: float, offset: float) -> Signature:
        """This one with another `scaling`."""
        if not self.inputs:
            return dataclasses.replace(self, scale=scale, offset=offset)
        inputs = (
            dataclasses.replace(each, scale=scale, offset=offset)
            if each.data_dtype == "uint8"
            else each
            for each in self.inputs
        )
        return dataclasses.replace(self, inputs=tuple(inputs))

    @property
    def has_pixels(self) -> bool:
        """Whether any input is of uint8."""
        return any(each.data_dtype == "uint8" for each in self.each_input)

    def by_name(self, fed: Fed) -> dict[str, NDArray[Any]]:
        """What `feed` gave, by the names of the inputs."""
        if not self.inputs:
            return {self.input_name: fed}
        return dict(zip(self.input_names, fed, strict=True))

    def fed_as(self, dtype: DataType) -> Signature:
        """This one, fed with `dtype`: with "uint8" where the data are that, and "float32" else."""
        own = (self.data_dtype, *(each.data_dtype for each in self.inputs))
        first, *others = (dtype if each == "uint8" else "float32" for each in own)
        pairs = zip(self.inputs, others, strict=True)
        inputs = tuple(dataclasses.replace(each, dtype=fed) for each, fed in pairs)
        return dataclasses.replace(self, dtype=first, inputs=inputs)

    def noise(self, batch_size: int) -> NDArray[Any]:
        """Random data, `batch_size` samples, always the same, to time engines with."""
        random = np.random.default_rng(0)

        def one(each: Signature) -> NDArray[Any]:
            shape = (batch_size, *each.input_shape)
            if each.data_dtype == "uint8":
                return random.integers(0, 256, shape, np.uint8)
            return random.standard_normal(shape, np.float32)

        if not self.inputs:
            return one(self)
        return fields.joined({each.input_name: one(each) for each in self.each_input})

    def batches(self, images: Any, batch_size: int) -> Iterator[Fed]:
        """All of `images`, N, as `feed` gives them, `batch_size` at a time.

        Where only one batch size can be fed, the last batch is filled up with the first images.
        """
        size = self.batch_size or batch_size
        whole = -(-len(images) // size) * size if self.batch_size else len(images)
        for start in range(0, whole, size):
            yield self.feed(images[np.arange(start, min(start + size, whole)) % len(images)])

    def batch_sizes(self, wanted: Iterable[int]) -> tuple[int, ...]:
        """Those of `wanted` that can be fed: all, or the only one there is."""
        return (self.batch_size,) if self.batch_size else tuple(wanted)

    @property
    def returns_probabilities(self) -> bool:
        """Whether the outputs are shares of 1, so that no softmax or sigmoid belongs on them."""
        return self.output == "probabilities"

    @property
    def limits(self) -> tuple[float, float] | None:
        """What a range has to cover to hold every preprocessed pixel, and zero; None for values
        that are no pixels, which may be any."""
        if self.data_dtype != "uint8":
            return None
        ends = (self.offset, 255 * self.scale + self.offset)
        return min(*ends, 0.0), max(*ends, 0.0)

    def write(self, folder: Path) -> None:
        """Write `signature.json` into `folder`."""
        (folder / FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Signature:
        """Read `signature.json` from `folder`. Raises ArtifactError if it is damaged.

        Written before `output` was known it says nothing of it, and all outputs count as logits;
        without `task` it is of a classifier.
        """
        try:
            raw = json.loads((folder / FILE).read_text())
            raw["input_shape"] = tuple(raw["input_shape"])
            raw["class_names"] = tuple(raw["class_names"])
            raw |= {key: tuple(raw.get(key, ())) for key in SHAPES}
            raw["heads"] = tuple(map(_head, raw.get("heads", ())))
            raw["inputs"] = tuple(map(_input, raw.get("inputs", ())))
            signature = cls(**raw)
            parts: tuple[Signature | Head, ...] = (signature, *signature.heads)
            for part in parts:
                if part.output not in get_args(Output):
                    raise ValueError(f"output is {shown(part.output)}")
                if part.task not in TASKS:
                    raise ValueError(f"task is {shown(part.task)}")
            _check_inputs(signature)
            return signature
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{FILE} in {str(folder)!r} is damaged: {error}", "run: pipeline run all --force"
            ) from error


def _head(raw: dict[str, Any]) -> Head:
    lists = ("class_names", *SHAPES)
    found: dict[str, Any] = {**raw, **{key: tuple(raw[key]) for key in lists}}
    return Head(**found)


def _input(raw: dict[str, Any]) -> Input:
    return Input(**{**raw, "input_shape": tuple(raw["input_shape"])})


def _check_inputs(signature: Signature) -> None:
    sources: tuple[Signature | Input, ...] = (signature, *signature.inputs)
    for source in sources:
        for key in ("dtype", "data_dtype"):
            if getattr(source, key) not in get_args(DataType):
                raise ValueError(f"{key} is {shown(getattr(source, key))}")
        if source.dtype == "uint8" != source.data_dtype:
            raise ValueError("dtype is 'uint8', but data_dtype is not")
    if len(set(signature.input_names)) != len(signature.input_names):
        raise ValueError(f"inputs are called {', '.join(signature.input_names)}")
