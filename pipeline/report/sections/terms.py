"""What the words and marks of the report mean."""

from __future__ import annotations

from pipeline.results.units import UNKNOWN
from stages.results.base import P99_SAMPLES

TERMS = (
    ("accuracy", "share of the test images that the model itself got right"),
    ("change", "in percentage points, against the trained model on as many images"),
    ("p50, p90, p99", f"half, 90 % and 99 % of the calls took no longer; p99 needs "
     f"{P99_SAMPLES:,} calls to mean much"),
    ("speed-up", "p50 of the trained float32 model in ONNX Runtime, divided by p50 of this one, "
     "both timed in turns by the same benchmark; where no benchmark was run, both as tf.function"),
    ("95 % interval", "would hold the true value in 95 of 100 repetitions; of an accuracy it "
     "covers the choice of the test images, of a p50 the choice of the moment"),
    ("UNSTABLE", "the median moved between the windows of the measurement: do not trust it"),
    ("baseline", "the trained, unpruned float32 model in ONNX Runtime"),
    ("size", "of the file; stages write Keras models, which may hold more than weights"),
    (UNKNOWN, "not measured"),
)  # fmt: skip
