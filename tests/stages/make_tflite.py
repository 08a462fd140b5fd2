"""Run by graphs.write_tflite in a process of its own: TensorFlow stays out of the engine tests."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def main(folder: Path) -> None:
    """Write a float32 and two INT8 files into `folder`, which holds weights.npz."""
    weights = np.load(folder / "weights.npz")
    filters, classes = len(weights["conv"]), len(weights["dense"])
    conv = keras.layers.Conv2D(filters, 3, activation="relu")
    dense = keras.layers.Dense(classes)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), conv, keras.layers.MaxPooling2D(), keras.layers.Flatten(), dense]
    )
    conv.set_weights([weights["conv"].transpose(2, 3, 1, 0), weights["conv_bias"]])
    rows = weights["dense"].reshape(classes, filters, 3, 3).transpose(2, 3, 1, 0)
    dense.set_weights([rows.reshape(-1, classes), weights["dense_bias"]])
    plain = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "model.fp32.tflite").write_bytes(plain.convert())
    for file, io in (("model.int8.tflite", tf.float32), ("int8_io.tflite", tf.int8)):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each[None]] for each in weights["samples"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = io
        (folder / file).write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
