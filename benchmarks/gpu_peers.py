"""The same graphs on the same GPU in ONNX Runtime, to compare TensorRT's engines with.

    python benchmarks/gpu_peers.py CONVERT ROWS [--batch-sizes 1 64] [--seconds 3] [--provider CUDA]

Adds a line to ROWS for every graph and batch size at once: latency from images in host memory to
logits in host memory, and how far they are from those of Keras. Ends well where ONNX Runtime has
no such provider, and says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gpu_rows
import numpy as np

from stages.artifacts.signature import Signature
from stages.measurement import clock
from stages.measurement.accuracy import batch_of
from stages.measurement.parity import KERAS_FLOAT
from stages.numerics import latency
from stages.numerics.parity import compare

GRAPHS = {"fp32": "model.fp32.onnx", "fp16": "model.fp16.onnx"}
WARMUP_SECONDS = 0.5

Run = Callable[[Any], Any]
"""Images of the signature's dtype (N, H, W, C) -> logits (N, classes)."""


def measure(run: Run, signature: Signature, samples: Any, batch: int, seconds: float) -> dict:
    """Latency with `batch` images, and the distance to Keras."""
    images = batch_of(samples["images"], signature, batch)
    windows = clock.until_stable({"run": partial(run, images)}, WARMUP_SECONDS, seconds)["run"]
    taken = np.concatenate(windows)
    found = {"infer_p50_ms": float(np.median(taken)), "calls": len(taken)}
    found["infer_p99_ms"] = float(np.percentile(taken, 99))
    found["stable"] = latency.is_stable([float(np.median(each)) for each in windows])
    if KERAS_FLOAT in samples:
        pixels, size = samples["images"], len(images)
        starts = range(0, len(pixels), size)
        # Whole batches: what was compiled takes no other.
        places = [np.arange(start, start + size) % len(pixels) for start in starts]
        outputs = np.concatenate([run(signature.feed(pixels[each])) for each in places])
        outputs = outputs[: len(pixels)]
        found |= compare(samples[KERAS_FLOAT], outputs).model_dump(mode="json")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--provider", default="CUDA")
    options = parser.parse_args()
    try:
        import onnxruntime
    except ImportError:
        return print("ONNX Runtime is not installed")
    provider = f"{options.provider}ExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return print(f"this ONNX Runtime has no {provider}")
    signature, samples = Signature.read(options.convert), np.load(options.convert / "samples.npz")
    for precision, file in GRAPHS.items():
        session = onnxruntime.InferenceSession(options.convert / file, providers=[provider])

        def run(images: Any, session: Any = session) -> Any:
            return session.run(None, signature.by_name(images))[0]

        # It falls back to the CPU without an error.
        used = session.get_providers()[0]
        for batch in options.batch_sizes:
            key = {"engine": f"onnxruntime.{used}.{precision}", "batch": batch}
            found = measure(run, signature, samples, batch, options.seconds)
            gpu_rows.append(options.rows, key | found | {"done": True})
    print(f"{options.convert}: {provider} measured")


if __name__ == "__main__":
    main()
