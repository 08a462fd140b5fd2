"""Which tensors stay in float when INT8 costs too much accuracy: as few as possible.

The unit is a point: without its range, every layer that reads the tensor computes in float,
in every target alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import keras

from stages import progress
from stages.artifacts.signature import Signature
from stages.conversion.onnx.targets import float_graph
from stages.engines.onnxruntime import node_milliseconds
from stages.errors import GateFailed, ModelError
from stages.keras_graph.placement import Point, fed_layers
from stages.keras_graph.walk import calls
from stages.results.quantization import FloatCandidate

Score = Callable[[frozenset[str]], tuple[float, float]]
"""Points left in float -> (accuracy, minus loss) of the INT8 model on the validation images."""


def worth(candidate: FloatCandidate) -> float:
    """Loss regained per share of the float model's latency that stays float."""
    return candidate.loss_gain / max(candidate.latency_share, 1e-3)


def excluded_points(
    model: keras.Model, points: Mapping[str, Point], exclude_layers: Collection[str]
) -> frozenset[str]:
    """The points that feed the layers `exclude_layers`, which may be "first" and "last".

    Raises ModelError for a name that is no quantized layer of the model.
    """
    fed = fed_layers(model, points)
    order = [str(call.operation.name) for call in calls(model)]
    weighted = sorted({name for names in fed.values() for name in names}, key=order.index)
    known = {"first": weighted[0], "last": weighted[-1]}
    wanted = {known.get(name, name) for name in exclude_layers}
    if unknown := sorted(wanted - set(weighted)):
        raise ModelError(
            f"quantize.exclude_layers names {unknown[0]!r}, which is no quantized layer of the "
            "model",
            f"its layers: {', '.join(weighted)}",
        )
    return frozenset(point for point, names in fed.items() if wanted & set(names))


def rank(
    model: keras.Model,
    points: Mapping[str, Point],
    score: Score,
    milliseconds: Mapping[str, float],
) -> list[FloatCandidate]:
    """One candidate for every point that feeds layers, tried alone; the most worthwhile first.

    `milliseconds` is the time of every layer in the float model.
    """
    base_accuracy, base_minus_loss = score(frozenset())
    total = max(sum(milliseconds.values()), 1e-9)
    found = []
    fed = fed_layers(model, points)
    for done, (point, layers) in enumerate(fed.items(), start=1):
        progress.report(f"float for {', '.join(layers)}", done, len(fed))
        accuracy, minus_loss = score(frozenset({point}))
        # Times of single layers would mislead as a latency (decision
        # 8), but they are enough to rank.
        share = sum(milliseconds.get(name, 0.0) for name in layers) / total
        found.append(
            FloatCandidate(
                point=point,
                layers=tuple(layers),
                accuracy_gain=accuracy - base_accuracy,
                loss_gain=minus_loss - base_minus_loss,
                latency_share=share,
                is_float=False,
            )
        )
    return sorted(found, key=worth, reverse=True)


def fewest(ranked: list[FloatCandidate], score: Score, least_accuracy: float) -> frozenset[str]:
    """Points to leave in float so that the accuracy is at least `least_accuracy`.

    Takes candidates in their order until it is, then gives back those that are not needed.
    Raises GateFailed if it takes more than half of them.
    """
    chosen, best = list[str](), score(frozenset())[0]
    for candidate in ranked[: max(1, len(ranked) // 2)]:
        chosen.append(candidate.point)
        best = max(best, score(frozenset(chosen))[0])
        if best >= least_accuracy:
            break
    else:
        raise GateFailed(
            f"INT8 reaches {best:.2%} on the validation images with half of its layers in "
            f"float, {least_accuracy:.2%} is required",
            "raise quantize.max_accuracy_drop or quantize.epochs",
        )
    # The last one stays: without it the loop above would not have ended.
    for point in list(chosen[:-1]):
        without = [name for name in chosen if name != point]
        if score(frozenset(without))[0] >= least_accuracy:
            chosen = without
    return frozenset(chosen)


def layers_of(
    model: keras.Model, points: Mapping[str, Point], in_float: Collection[str]
) -> tuple[str, ...]:
    """Names of the weighted layers that read one of the points `in_float`; in ONNX their nodes
    have the same names.
    """
    fed = fed_layers(model, points)
    return tuple(sorted({name for point in in_float for name in fed.get(point, ())}))


def layer_milliseconds(model: keras.Model, signature: Signature) -> dict[str, float]:
    """Time of every weighted layer of the folded float `model` in ONNX Runtime at batch 1."""
    fed = signature.preprocess(signature.noise(1))
    return node_milliseconds(float_graph(model, signature), signature, fed)
