"""From a Keras model to an engine in a program of your own, as in the cells of a notebook.

python examples/optimize.py FOLDER     writes artifacts and a bundle to FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import pipeline

folder = Path(sys.argv[1])

# %% Your images, uint8, and your trained model. Here: scikit-learn's digits and a small CNN.
digits = load_digits()
images = (digits.images[..., None] * 15).astype(np.uint8)
train, test = (images[:1400], digits.target[:1400]), (images[1400:], digits.target[1400:])

model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss)
model.fit(*train, epochs=8, verbose=0)

# %% The whole line: prune, quantize, convert, build, benchmark. data.scale=1: it scales its pixels.
result = pipeline.optimize(
    model,
    train=train,
    test=test,
    settings={
        "data.scale": 1.0,
        "prune.epochs": 3,
        "quantize.epochs": 1,
        "build.backends": ["litert"],
        "build.max_seconds_per_engine": 0.1,
        "benchmark.max_seconds_per_engine": 0.2,
        "benchmark.warmup_seconds": 0.05,
    },
    artifacts=folder / "artifacts",
)
print(*result.report.verdict, sep="\n")  # in a notebook: result

# %% The engine, in any program. It needs neither Keras nor TensorFlow.
with result.load(folder / "digits") as engine:
    answers = engine.predict(test[0])
    print(f"{np.mean(answers.indices == test[1]):.1%} of {len(answers)} images are right")
