from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from stages.keras_graph.fake_quant import execute
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points, tied
from stages.numerics import qparams
from stages.quantization.calibrate import METHODS, find_ranges, observe
from stages.quantization.method_choice import choose, combine, output_changes
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS, images, randomized

BATCHES = [images(64, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def net():
    model = fold(randomized(NETWORKS["concatenated"]()))
    placed = points(model, SIGNATURE)
    histograms = observe(model, placed, BATCHES)
    candidates = {m: find_ranges(model, placed, histograms, m, 99.0) for m in METHODS}
    return model, placed, candidates, output_changes(model, placed, candidates, BATCHES)


def by_trying(model, point, spec) -> float:
    """Mean squared change of the outputs when one tensor is rounded by NumPy, nothing else."""

    def quantize(_, value):
        scale = spec.scale("cpu")
        steps = qparams.quantize(np.asarray(value), np.float32(scale), spec.grid("cpu"))
        return tf.constant(steps.astype(np.float32) * np.float32(scale))

    errors = [
        np.square(execute(model, {point.name: point}, tf.constant(x), quantize) - model(x).numpy())
        for x in BATCHES
    ]
    return float(np.mean(errors))


def test_the_estimate_is_what_trying_each_tensor_alone_gives(net):
    model, placed, candidates, changes = net
    for method in ("max", "percentile"):
        for name, point in placed.items():
            tried = by_trying(model, point, candidates[method][name])
            assert 0.5 * tried - 1e-9 < changes[method][name] < 2 * tried + 1e-9


def test_every_tensor_gets_the_method_that_costs_least_or_nearly_so(net):
    model, placed, candidates, changes = net
    methods = choose(model, placed, changes)
    groups = tied(model, placed)
    for name in set(placed).difference(*groups, {"image"}):
        tried = {m: by_trying(model, placed[name], candidates[m][name]) for m in METHODS}
        assert tried[methods[name]] <= 1.5 * min(tried.values())


def test_tied_tensors_get_one_method_and_so_one_range(net):
    model, placed, candidates, changes = net
    methods = choose(model, placed, changes)
    found = combine(candidates, methods)
    (group,) = tied(model, placed)
    assert len({methods[name] for name in group}) == 1
    assert len({(found[name].low, found[name].high) for name in group}) == 1


def test_tensors_get_different_methods_where_that_is_better():
    model = fold(NETWORKS["plain"]())
    placed = points(model, SIGNATURE)
    first, second, *rest = placed
    changes = {
        "max": dict.fromkeys(placed, 1.0) | {second: 2.0},
        "mse": dict.fromkeys(placed, 3.0) | {second: 1.0},
    }
    expected = {first: "max", second: "mse", **dict.fromkeys(rest, "max")}
    assert choose(model, placed, changes) == expected
