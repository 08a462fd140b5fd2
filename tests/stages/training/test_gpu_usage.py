from __future__ import annotations

import os
import time

from stages.results.training import GpuUsage
from stages.training import gpu_usage

LINES = "0, 80, 1000\n1, 0, 12\n0, 100, 3000\n1, [N/A], 12\n0, 9"


def test_samples_become_one_row_per_gpu_without_those_that_hold_no_numbers():
    assert gpu_usage.summary(LINES) == [
        GpuUsage(gpu=0, utilisation_percent_mean=90.0, memory_mib_max=3000.0, samples=2),
        GpuUsage(gpu=1, utilisation_percent_mean=0.0, memory_mib_max=12.0, samples=1),
    ]


def test_without_nvidia_smi_nothing_is_sampled(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = []
    with gpu_usage.sampled(found):
        pass
    assert found == []


def test_it_is_sampled_for_as_long_as_the_training_lasts(monkeypatch, tmp_path):
    done = tmp_path / "done"
    script = f"#!/bin/sh\necho '0, 50, 700'\ntouch {done}\nexec sleep 600\n"
    (tmp_path / "nvidia-smi").write_text(script)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    found = []
    with gpu_usage.sampled(found):
        while not done.exists():
            time.sleep(0.01)
    assert found[0].utilisation_percent_mean == 50.0
