from __future__ import annotations

from pathlib import Path

import pytest

from stages.settings import Prune, Train
from stages.training.precision import chosen


def test_auto_is_bfloat16_where_the_processor_multiplies_it_in_amx() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    has_amx = cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()
    assert chosen("auto", xla=False) == ("bfloat16" if has_amx else "float32")


def test_xla_stays_with_float32_unless_it_is_told() -> None:
    assert chosen("auto", xla=True) == "float32"
    assert chosen("bfloat16", xla=True) == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_set_is_taken(precision: str) -> None:
    assert chosen(precision, xla=False) == precision


def test_train_and_prune_compute_in_float32_unless_told_otherwise() -> None:
    assert (Train().precision, Prune().precision) == ("float32", "float32")
    assert Prune.model_validate({"precision": "auto"}).precision == "auto"
