from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from tf2onnx.graph import Node

from stages.conversion.onnx.tf2onnx_calls import convert
from stages.errors import ConversionError
from tests.stages.conversion.onnx.builders import evaluate
from tests.stages.networks import NETWORKS, SHAPE, images, randomized

SPEC = tf.TensorSpec((None, *SHAPE), tf.float32)


def traced(forward):
    return tf.function(forward, input_signature=[SPEC])


def test_weights_are_written_a_few_times_and_not_after_every_pass(monkeypatch):
    writes: Counter[str] = Counter()
    original = Node.update_proto

    def counted(node, *args, **kwargs):
        if node.is_const():
            writes[node.name] += 1
        original(node, *args, **kwargs)

    monkeypatch.setattr(Node, "update_proto", counted)
    model = randomized(NETWORKS["residual"]())
    exported = convert(traced(lambda x: model(x, training=False)), [SPEC], 17)
    assert max(writes.values()) <= 2
    assert np.allclose(evaluate(exported, images(3)), model(images(3)), atol=1e-5)


def test_tf2onnx_is_left_as_it_was_also_after_an_error():
    before, handlers = Node.update_proto, list(logging.getLogger("tf2onnx").handlers)
    with pytest.raises(ConversionError, match="tf2onnx cannot convert"):
        convert(traced(lambda x: tf.math.special.bessel_i0(x)), [SPEC], 17)
    assert Node.update_proto is before
    assert logging.getLogger("tf2onnx").handlers == handlers
