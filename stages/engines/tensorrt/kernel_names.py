"""What the names of TensorRT's kernels say. Without NumPy: the report reads them as well."""

from __future__ import annotations

import re

MOVES = frozenset({"Cast", "Move", "Resh", "Tran", "Repl", "Conc"})
"""Operations, as in the name of a generated kernel, that compute nothing."""


def only_moves(name: str, kind: str | None) -> bool:
    """Whether a kernel does nothing but move values or convert them to another type.

    Those of TensorRT are of a kind of their own, those generated for a part of a network are called
    after what they do, as in "__myl_CastResh_myl0_3".
    """
    generated = re.match(r"__myl_((?:[A-Z][a-z]*)+)_", name)
    if generated:
        return MOVES.issuperset(re.findall("[A-Z][a-z]*", generated[1]))
    return (kind or "").lower() == "reformat"
