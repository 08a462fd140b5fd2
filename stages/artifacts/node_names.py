"""How the nodes of a converted graph say from which layer they were traced."""

from __future__ import annotations

import re


def scope(layer: str) -> str:
    """The TensorFlow name scope in which `layer` is traced."""
    # The dot at the end marks where the layer's name ends: TensorFlow may add a "_1" of its own.
    return f"layer.{layer}."


def layer_of(node_name: str) -> str | None:
    """The layer whose operation was traced to the node, if it was traced in its `scope`."""
    found = re.match(r"layer\.(.+?)\.(?:_\d+)?/", node_name)
    return found[1] if found else None
