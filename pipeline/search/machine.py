"""What of a machine decides how fast its engines are, and what all trials have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.differences import in_words
from stages.engines import environment
from stages.errors import MachineError
from stages.results.machine import MachineFacts

Facts = Mapping[str, Any]
"""As JSON values by names that people read; packages by their own."""


def facts(machine: MachineFacts) -> dict[str, Any]:
    """Those of `machine`.

    None of them changes by itself, as at a boot. Nor is it one which of its GPUs a process sees:
    Ray shows others to each task.
    """
    cpu, gpu = machine.cpu, machine.gpu
    return {
        "processor": cpu.model,
        "cores": cpu.cores,
        "instruction sets": list(cpu.flags),
        "GPUs": list(gpu.names),
        "driver": gpu.driver,
        "Jetson Linux": gpu.jetson_linux,
        **machine.packages,
    }


def refuse_other(known: Facts) -> None:
    """Raise MachineError where this machine is not as a search knows it; {} knows nothing."""
    changes = in_words(known, facts(environment.describe())) if known else []
    if changes:
        raise MachineError(
            f"{', '.join(changes)} since the search began: its trials would not compare",
            "put it back as it was, or search in another folder with --artifacts",
        )
