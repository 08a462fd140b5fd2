"""Attention spelled out as Dense layers computes what Keras computes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.fold import fold
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.walk import calls
from tests.stages.networks import SHAPE, images, randomized

CAUSAL = {"use_causal_mask": True}
SEEN = np.tril(np.ones((1, 9, 9)), 2)


def network(attention, *, cross=0, is_image=False, **call_options) -> keras.Model:
    """Positions of an image attend to each other, or to those of a coarser one of other width."""
    image = keras.Input(SHAPE, name="image")
    query = layers.Conv2D(6, 4, strides=4)(image)
    value = layers.Conv2D(cross, 6, strides=6)(image) if cross else query
    if not is_image:
        query, value = (layers.Reshape((-1, each.shape[-1]))(each) for each in (query, value))
    x = attention(query, value, **call_options)
    x = x if isinstance(x, (list, tuple)) else [x]
    x = layers.Concatenate()([layers.Flatten()(each) for each in x])
    return randomized(keras.Model(image, layers.Dense(4)(x)))


def weighted(model: keras.Model) -> list[str]:
    found = [call.operation for call in calls(model)]
    return [layer.name for layer in found if isinstance(layer, WEIGHTED)]


def assert_same(model: keras.Model, other: keras.Model) -> None:
    expected = model(images(4), training=False).numpy()
    assert np.abs(other(images(4)).numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("options", "call_options"),
    [
        ({"num_heads": 2, "key_dim": 3, "value_dim": 5}, {"cross": 5}),
        ({"num_heads": 3, "key_dim": 2, "use_bias": False, "output_shape": 7}, {}),
        ({"num_heads": 2, "key_dim": 4, "output_shape": (2, 3)}, {}),
        ({"num_heads": 2, "key_dim": 4}, {"return_attention_scores": True}),
        ({"num_heads": 2, "key_dim": 4}, CAUSAL),
        ({"num_heads": 2, "key_dim": 4, "dropout": 0.1}, {"attention_mask": SEEN}),
        ({"num_heads": 2, "key_dim": 4, "value_dim": 3}, {"is_image": True}),
        ({"num_heads": 2, "key_dim": 4, "attention_axes": (2,)}, {"is_image": True}),
    ],
)
def test_heads_computes_the_same(options, call_options):
    model = network(layers.MultiHeadAttention(name="heads", **options), **call_options)
    folded = fold(model)
    assert {type(layer) for layer in folded.layers} & {layers.MultiHeadAttention} == set()
    assert [name for name in weighted(folded) if name.startswith("heads")] == [
        *("heads_query", "heads_key", "heads_value", "heads_attention_output"),
    ]
    assert_same(model, folded)


@pytest.mark.parametrize("options", [CAUSAL, {"cross": 6}])
def test_grouped_queries_compute_the_same(options):
    attention = layers.GroupQueryAttention(3, 4, 2, use_gate=True)
    model = network(attention, **options)
    assert len(weighted(fold(model))) == len(weighted(model)) + 5
    assert_same(model, fold(model))


def test_a_layer_that_is_called_twice_stays_one():
    attention = layers.MultiHeadAttention(2, 3, name="heads")
    image = keras.Input(SHAPE, name="image")
    x = layers.Reshape((9, 6))(layers.Conv2D(6, 4, strides=4)(image))
    x = attention(attention(x, x), x)
    model = randomized(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    folded = fold(model)
    assert weighted(folded).count("heads_query") == 2
    assert len([layer for layer in folded.layers if layer.name == "heads_query"]) == 1
    assert_same(model, folded)


def test_a_folded_model_is_plain_keras_after_loading(tmp_path):
    model = network(layers.MultiHeadAttention(2, 3), attention_mask=SEEN)
    folded = fold(model)
    folded.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [call.operation.name for call in calls(again)] == [
        call.operation.name for call in calls(folded)
    ]
    # Names of operations that were loaded are not used again.
    assert_same(model, fold(again))


def masked(x):
    return layers.Masking()(x), {}


def computed(x):
    return x, {"attention_mask": keras.ops.matmul(x, keras.ops.swapaxes(x, 1, 2)) > 0}


@pytest.mark.parametrize(
    ("given", "message"),
    [(masked, "'heads' has a mask from the layers before"), (computed, "'heads' has a mask that")],
)
def test_a_mask_that_no_graph_can_have_is_one_line(given, message):
    image = keras.Input(SHAPE, name="image")
    x, options = given(layers.Reshape((9, 6))(layers.Conv2D(6, 4, strides=4)(image)))
    x = layers.MultiHeadAttention(2, 3, name="heads")(x, x, **options)
    model = keras.Model(image, layers.Dense(4)(x))
    with pytest.raises(ModelError, match=message):
        fold(model)


def test_a_subclass_may_compute_anything_and_stays():
    class Own(layers.MultiHeadAttention):
        def call(self, query, value, key=None, **kwargs):
            return 2 * super().call(query, value, key, **kwargs)

    model = network(Own(2, 3))
    assert weighted(fold(model)) == weighted(model)
    assert_same(model, fold(model))
