from __future__ import annotations

import pytest

from pipeline.search import machine
from stages.engines import environment
from stages.errors import MachineError


def test_neither_a_boot_nor_what_a_process_sees_is_another_machine():
    here = environment.describe()
    other_gpu = here.gpu.model_copy(update={"visible": "1"})
    after = here.model_copy(update={"platform": "Linux 99", "gpu": other_gpu})
    assert machine.facts(after) == machine.facts(here)


def test_a_machine_is_refused_by_what_differs():
    known = machine.facts(environment.describe())
    machine.refuse_other(known)
    with pytest.raises(MachineError) as caught:
        machine.refuse_other({**known, "cores": 1024})
    assert caught.value.message == (
        f"cores 1024 -> {known['cores']} since the search began: its trials would not compare"
    )
    machine.refuse_other({})
