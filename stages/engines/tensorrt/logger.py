"""TensorRT's messages: one logger for a whole process, which keeps those that are needed later."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any

from stages.engines.tensorrt.layers import HEAD

MESSAGES = logging.getLogger("tensorrt")
"""TensorRT's own messages: errors and warnings at INFO, everything else at DEBUG."""


@functools.cache
def logger(trt: Any) -> Any:
    """The only logger of this process: TensorRT keeps the first that it gets.

    It passes messages on to `logging`, and keeps errors in `errors`, the last warning in `warning`,
    messages about 2:4 weights in `sparsity` and the last description of layers in `layers`.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            # By name and not by super(): TensorRT requires it of subclasses of its classes.
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.sparsity: list[str] = []
            self.warning = self.layers = ""

        def clear(self) -> None:
            self.errors.clear()
            self.sparsity.clear()
            self.warning = self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            if severity == trt.ILogger.WARNING:
                self.warning = message
            if message.startswith("(Sparsity)"):
                self.sparsity.append(message)
            if message.startswith(HEAD):
                self.layers = message
            notable = severity not in (trt.ILogger.INFO, trt.ILogger.VERBOSE)
            MESSAGES.log(logging.INFO if notable else logging.DEBUG, "%s", message)

    return Logger()


def said(log: Any, otherwise: object = "no reason given") -> str:
    """The errors since the logger was cleared, in one line.

    Without any the last warning: TensorRT 8.6 only warns of a GPU that it cannot start.
    """
    return "; ".join(log.errors) or log.warning.strip() or str(otherwise)


def sparsity_verdict(messages: Iterable[str]) -> str:
    """Which layers could have taken a sparse kernel, and which did; "" if none could.

    TensorRT logs it at level INFO, in two lines as in issue 4056 of
    github.com/NVIDIA/TensorRT: "(Sparsity) Layers eligible for sparse math: Conv_0, Conv_4 +
    Relu_5" and "(Sparsity) TRT inference plan picked sparse implementation for layers: ...".
    """
    eligible: list[str] = []
    picked: list[str] = []
    for message in messages:
        about, _, names = message.partition(":")
        found = picked if "picked sparse" in about else eligible
        found += [name.strip() for name in names.split(",") if name.strip()]
    if not eligible:
        return ""
    return f"{len(picked)} of {len(eligible)} layers with 2:4 weights took a sparse kernel" + (
        f": {', '.join(picked)}" if picked else ", dense ones were faster"
    )
