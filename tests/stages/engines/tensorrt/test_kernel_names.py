from __future__ import annotations

import pytest

from stages.engines.tensorrt.kernel_names import only_moves


@pytest.mark.parametrize(
    ("name", "kind", "is_move"),
    [
        ("__myl_CastReshRepl_myl0_3", "kgen", True),
        ("__myl_MulCast_myl0_4", "kgen", False),  # a quantizer
        ("Reformatting CopyNode for Input Tensor 0", "Reformat", True),
        ("conv1_myl0_1", "correlation", False),
        ("anything", None, False),
    ],
)
def test_kernels_that_only_move_values_are_known_by_kind_or_name(
    name: str, kind: str | None, is_move: bool
) -> None:
    assert only_moves(name, kind) is is_move
