from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.errors import ModelError, NothingPruned
from stages.keras_graph.fold import flatten
from stages.pruning.criteria import layer_scores
from stages.pruning.structured import (
    compare_groups,
    left_out,
    narrow,
    obstacle,
    prunable,
    widths_for,
)
from tests.stages.networks import NETWORKS, randomized


def chain(*widths: int) -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    x = image
    for number, channels in enumerate(widths, start=1):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu", name=f"conv{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4, name="logits")(x), name="chain")


def narrowed(model: keras.Model, ratio: float, **options: Any) -> keras.Model:
    found = prunable(model, options.get("exclude_layers", ()), options.get("channel_multiple", 1))
    return narrow(model, widths_for(found, ratio), layer_scores(model, "l2", ()))


def test_every_group_loses_its_share_rounded_to_the_multiple_that_is_wanted() -> None:
    small = narrowed(chain(8, 20, 32), 0.6, channel_multiple=8)
    assert [row.channels_after for row in compare_groups(chain(8, 20, 32), small)] == [8, 8, 16]
    assert small.output_shape == (None, 4)
    assert [tensor.name for tensor in small.inputs] == ["image"]


def test_the_weakest_channels_go() -> None:
    model = chain(8)
    kernel = model.get_layer("conv1").kernel
    weak = [1, 2, 5, 7]
    factor = np.ones(8, np.float32)
    factor[weak] = 1e-3
    kernel.assign(kernel.numpy() * factor)
    expected = np.delete(kernel.numpy(), weak, axis=-1)
    found = narrowed(model, 0.5).get_layer("conv1").kernel.numpy()
    np.testing.assert_array_equal(found, expected)


def test_excluded_layers_lose_nothing_nor_do_those_tied_to_them() -> None:
    model = randomized(NETWORKS["residual"]())
    first = model.layers[1].name
    small = narrowed(model, 0.5, exclude_layers=(first,))
    rows = compare_groups(model, small)
    tied = [row for row in rows if first in row.layers]
    others = [row for row in rows if first not in row.layers]
    assert [row.channels_before - row.channels_after for row in tied] == [0]
    assert all(2 * row.channels_after == row.channels_before for row in others)


def test_the_weakest_channels_of_all_heads_go_unless_the_layer_is_excluded() -> None:
    image = keras.Input((6, 4))
    attention = layers.MultiHeadAttention(2, 4, value_dim=6, name="heads")
    x = layers.Flatten()(layers.Dense(8, name="behind")(attention(image, image)))
    model = keras.Model(image, layers.Dense(4)(x))
    for projection in (attention.query_dense, attention.key_dense):
        projection.kernel.assign(projection.kernel.numpy() * [1e-3, 1, 1e-3, 1])
    names = ("heads/query", "heads/key"), ("heads/value",), ("heads",), ("behind",)
    small = narrowed(model, 0.5)
    rows = {
        row.layers: (row.channels_before, row.channels_after)
        for row in compare_groups(model, small)
    }
    assert rows == dict(zip(names, [(4, 2), (6, 3), (4, 2), (8, 4)], strict=True))
    key = small.get_layer("heads").key_dense.kernel.numpy()
    np.testing.assert_array_equal(key, attention.key_dense.kernel.numpy()[..., [1, 3]])
    kept = narrowed(model, 0.5, exclude_layers=("heads",))
    assert [row.channels_after for row in compare_groups(model, kept)] == [4, 6, 4, 4]


def test_an_excluded_name_that_is_no_layer_gets_the_nearest_one() -> None:
    with pytest.raises(
        ModelError, match=r"prune\.exclude_layers names 'conv9'.*did you mean 'conv1'"
    ) as it:
        prunable(chain(8), ("conv9",), 1)
    assert "conv1" in it.value.hint


def test_a_model_of_which_all_is_excluded_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"all of its groups of layers have one in prune\.exclude_layers"
    ):
        prunable(chain(8), ("conv1",), 1)


def test_a_model_of_output_layers_only_has_no_channels_to_lose() -> None:
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)), name="linear")
    why = obstacle(model, prunable(model, (), 1))
    assert why is not None
    assert "no channels can be removed: its outputs must stay" in why


def test_of_convolutions_alone_dense_layers_on_vectors_keep_their_widths() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.Dense(8, name="pointwise")(x)
    gate = layers.Dense(4, name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Dense(8, name="excite")(gate)])
    x = layers.Dense(8, name="hidden")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(4)(x))
    found = [group.layers for group in prunable(model, (), 1, "convolutions")]
    assert found == [("conv",), ("pointwise", "excite"), ("squeeze",)]
    assert [group.layers for group in prunable(model, (), 1)] == [*found, ("hidden",)]


def test_a_network_without_convolutions_says_how_it_could_be_pruned() -> None:
    image = keras.Input((4, 4, 1))
    hidden = layers.Dense(8)(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(3)(hidden), name="dense")
    why = obstacle(model, prunable(model, (), 1, "convolutions"))
    assert why is not None
    assert "only Dense layers on one vector per image could lose channels" in why
    assert "prune.layers=all" in why
    assert obstacle(model, prunable(model, (), 1)) is None


def test_a_ratio_that_removes_no_channel_names_the_smallest_that_does() -> None:
    found = prunable(chain(8, 32), (), 1)
    with pytest.raises(
        NothingPruned, match=r"0\.01 removes no channel.*conv2\) has 32 ch"
    ) as caught:
        widths_for(found, 0.01)
    assert caught.value.hint.startswith("use at least --set prune.ratio=0.032")
    assert widths_for(found, 0.032) == {("conv1",): 8, ("conv2",): 31}


def test_a_ratio_that_rounding_makes_nothing_of_says_so() -> None:
    found = prunable(chain(8, 16), (), 8)
    with pytest.raises(ModelError, match="has 16 channels and keeps a multiple of 8") as caught:
        widths_for(found, 0.4)
    assert caught.value.hint.startswith("use at least --set prune.ratio=0.5")
    assert widths_for(found, 0.5) == {("conv1",): 8, ("conv2",): 8}


def test_groups_no_wider_than_the_multiple_cannot_be_narrowed() -> None:
    why = obstacle(chain(8, 4), prunable(chain(8, 4), (), 8))
    assert why is not None
    assert "the widest (conv1) has 8 channels and keeps a multiple of 8" in why
    assert obstacle(chain(8, 9), prunable(chain(8, 9), (), 8)) is None


def test_the_width_of_a_group_that_is_none_any_more_is_counted() -> None:
    # One channel per group of the convolution is left: it is a depthwise one from now on.
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(32, 1, name="before")(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, groups=8, name="grouped")(x))
    model = keras.Model(image, layers.Dense(4)(x))
    small = narrow(model, {("before",): 1, ("grouped",): 1}, layer_scores(model, "l2", ()))
    assert small.get_layer("grouped").filters == 8
    rows = compare_groups(model, small)
    assert [(row.channels_before, row.channels_after) for row in rows] == [(4, 1), (8, 1)]


def test_a_convolution_in_groups_counts_the_channels_of_all_its_groups() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(32, 1, name="before")(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, groups=8, name="grouped")(x))
    model = keras.Model(image, layers.Dense(4)(x))
    small = narrowed(model, 0.5, channel_multiple=16)
    grouped = small.get_layer("grouped")
    assert (small.get_layer("before").filters, grouped.filters, grouped.groups) == (16, 32, 8)


def test_a_shared_layer_is_narrowed_once_and_stays_shared() -> None:
    model = randomized(NETWORKS["shared"]())
    small = narrowed(model, 0.5)
    assert small.get_layer("twice").filters == 4
    assert len(small.layers) == len(model.layers)


def test_a_subclassed_model_is_refused() -> None:
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ModelError, match="its layers cannot be read"):
        prunable(Own(), (), 1)


def test_layers_that_pruning_does_not_know_are_named_but_not_those_excluded() -> None:
    image = keras.Input((6, 16))
    x = layers.Dense(16, name="cut")(image)
    for name, options in {
        "masked": {"attention_mask": np.ones((1, 6, 6), bool)},
        "heads": {},
    }.items():
        x = layers.MultiHeadAttention(2, 4, name=name)(x, x, **options)
    x, _ = layers.MultiHeadAttention(2, 4, name="scores")(x, x, return_attention_scores=True)
    x = layers.Dense(16, name="between")(x)
    x = layers.GroupQueryAttention(8, 2, 1, name="grouped")(x, x)
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4, name="low_rank")(x, x))
    flat = flatten(keras.Model(image, layers.Dense(4)(layers.Flatten()(x))))
    flat.get_layer("low_rank").query_dense.enable_lora(2)
    sentence = left_out(flat, ["scores"])
    assert sentence is not None
    assert sentence.partition(": ")[2].split(", ") == [
        "masked (MultiHeadAttention)",
        "grouped (GroupedQueryAttention)",
        "low_rank (MultiHeadAttention)",
    ]
    assert left_out(keras.Sequential([keras.Input((3,)), layers.Dense(2)]), ()) is None


@pytest.mark.parametrize(
    ("equation", "shape"), [("abc,bd->adc", (5, 8)), ("abc,c->abc", (6, 8)), ("abc,b->abc", (6, 8))]
)
def test_an_einsum_that_makes_no_channels_stays_whole_and_the_rest_is_narrowed(
    equation: str, shape: tuple[int, int]
) -> None:
    image = keras.Input((6, 5))
    x = layers.Dense(8, name="free")(layers.Dense(8, activation="relu", name="first")(image))
    x = layers.EinsumDense(equation, shape, name="whole")(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    small = narrowed(model, 0.5)
    after = {row.layers: row.channels_after for row in compare_groups(model, small)}
    assert after == {("first",): 4}
    np.testing.assert_array_equal(small.get_layer("whole").kernel, model.get_layer("whole").kernel)
