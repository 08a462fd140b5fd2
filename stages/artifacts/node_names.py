"""What layers, inputs and outputs may be called, and how nodes of a graph say whose they are."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*")
"""TensorFlow takes ">" and a backslash too, but files and this project's own names do not."""


def scope(layer: str) -> str:
    """The TensorFlow name scope in which `layer` is traced."""
    # The dot at the end marks where the layer's name ends: TensorFlow may add a "_1" of its own.
    return f"layer.{layer}."


def layer_of(node_name: str) -> str | None:
    """The layer whose operation was traced to the node, if it was traced in its `scope`."""
    found = re.match(r"layer\.(.+?)\.(?:_\d+)?/", node_name)
    return found[1] if found else None
