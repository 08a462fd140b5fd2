from __future__ import annotations

import pytest

from stages.errors import GateFailed, ModelError
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.quantization import fallback
from stages.results.quantization import FloatCandidate
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import NETWORKS, randomized


def candidate(point: str, loss_gain: float = 0.1, share: float = 0.1) -> FloatCandidate:
    return FloatCandidate(
        point=point,
        layers=(f"conv_{point}",),
        accuracy_gain=0.0,
        loss_gain=loss_gain,
        latency_share=share,
        is_float=False,
    )


def scores(gains: dict[str, float], base: float = 0.8):
    """Accuracy that each point adds when it is left in float."""

    def score(in_float: frozenset[str]) -> tuple[float, float]:
        accuracy = base + sum(gains[point] for point in in_float)
        return accuracy, accuracy - 1

    return score


@pytest.fixture(scope="module")
def net():
    model = fold(randomized(NETWORKS["plain"]()))
    return model, points(model, SIGNATURE)


def test_as_few_points_as_will_do_are_left_in_float():
    gains = {"a": 0.01, "b": 0.02, "c": 0.15, "d": 0.0, "e": 0.0, "f": 0.0}
    ranked = [candidate(name) for name in gains]
    assert fallback.fewest(ranked, scores(gains), 0.94) == {"c"}


def test_points_are_taken_in_their_order_until_it_is_enough():
    gains = dict.fromkeys("abcdef", 0.05)
    ranked = [candidate(name) for name in gains]
    assert fallback.fewest(ranked, scores(gains), 0.895) == {"a", "b"}


def test_a_budget_that_cannot_be_met_says_what_the_best_was():
    gains = dict.fromkeys("abcdef", 0.01)
    ranked = [candidate(name) for name in gains]
    with pytest.raises(GateFailed, match=r"reaches 83\.00% .* 95\.00% is required") as caught:
        fallback.fewest(ranked, scores(gains), 0.95)
    assert caught.value.exit_code == 3


def test_a_cheap_layer_is_worth_more_than_an_expensive_one_of_equal_gain():
    assert fallback.worth(candidate("a", 0.1, share=0.05)) > fallback.worth(
        candidate("b", 0.1, share=0.5)
    )


def test_every_point_that_feeds_layers_is_tried_alone(net):
    model, placed = net
    tried = []

    def score(in_float: frozenset[str]) -> tuple[float, float]:
        tried.append(in_float)
        return (0.9 if in_float else 0.8), -float(len(tried))

    milliseconds = fallback.layer_milliseconds(model, SIGNATURE)
    ranked = fallback.rank(model, placed, score, milliseconds)
    assert [len(each) for each in tried] == [0, 1, 1, 1, 1]
    assert {c.point for c in ranked} == {point for each in tried for point in each}
    assert all(c.accuracy_gain == pytest.approx(0.1) for c in ranked)
    assert 0.2 < sum(c.latency_share for c in ranked) < 1.0


def test_the_time_of_every_layer_is_measured_under_its_own_name(net):
    model, _ = net
    milliseconds = fallback.layer_milliseconds(model, SIGNATURE)
    weighted = [x.name for x in model.layers if type(x).__name__ in ("Conv2D", "Dense")]
    assert set(weighted) <= milliseconds.keys()
    assert all(milliseconds[name] > 0 for name in weighted)


def test_layers_are_named_by_name_or_as_the_first_and_the_last(net):
    model, placed = net
    fed = {layer: point for point, (layer,) in fallback.fed_layers(model, placed).items()}
    first, *_, last = fed
    assert fallback.excluded_points(model, placed, ["first"]) == {"image"}
    assert fallback.excluded_points(model, placed, ["last"]) == {fed[last]}
    assert fallback.excluded_points(model, placed, [first, last]) == {"image", fed[last]}
    assert fallback.layers_of(model, placed, {"image"}) == (first,)


def test_an_unknown_layer_is_refused_with_the_known_ones(net):
    with pytest.raises(ModelError, match="names 'conv9'") as caught:
        fallback.excluded_points(*net, ["conv9"])
    assert "conv2d" in caught.value.hint
