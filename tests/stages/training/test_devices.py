"""Devices: what is refused, and trainings on two devices and by two workers."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving import free_ports
from stages.errors import EngineError, SettingsError
from stages.settings import Training
from stages.training import devices
from tests.forks import Forks
from tests.stages.training.workers import PATIENT

WORKERS = ["127.0.0.1:5000", "127.0.0.1:5001"]


def tf_config(index: int, workers: list[str]) -> str:
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def two_workers(forks: Forks, folders: list[Path], *options: list[str]) -> list[int]:
    """The exit status of each of two workers that train the normalised network together."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(folders))]
    jobs, patience = zip(folders, options, strict=True), {} if any(options) else {PATIENT: "1"}
    return forks.run(
        *([str(folder), "workers", "normalised", *kill] for folder, kill in jobs),
        variables=[
            {"TF_CONFIG": tf_config(index, addresses), **patience}
            for index, _ in enumerate(folders)
        ],
    )


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def curve(trained: dict[str, Any]) -> list[tuple[float, float]]:
    return [(row["loss"], row["val_loss"]) for row in trained["history"]]


@pytest.fixture
def forks():
    with Forks("tests.stages.training.workers") as running:
        yield running


def test_two_devices_and_two_workers_learn_as_one_and_a_killed_worker_costs_no_epoch(
    tmp_path, forks
):
    one, mirrored, first, second = (tmp_path / name for name in ("one", "two", "a", "b"))
    both = "plain,normalised"
    assert forks.run([str(one), "auto", both], [str(mirrored), "cpu:0,cpu:1", both]) == [0, 0]
    expected, shared = result(one), result(mirrored)
    assert shared["plain"]["devices"] == ["cpu:0", "cpu:1"]
    # Without batch normalisation two devices compute what one computes.
    assert np.allclose(curve(shared["plain"]), curve(expected["plain"]), rtol=1e-3)
    # With it, each device normalises its half of a batch.
    assert np.allclose(curve(shared["normalised"]), curve(expected["normalised"]), rtol=0.1)

    assert two_workers(forks, [first, second], [], ["2"]) == [1, -signal.SIGKILL]
    message = (first / "error.txt").read_text()
    assert message.startswith("another worker was lost, or cannot be reached")
    assert "start the same command on all workers again" in message
    assert two_workers(forks, [first, second], [], []) == [0, 0]
    found = [result(folder)["normalised"] for folder in (first, second)]
    for each in found:
        assert np.allclose(curve(each), curve(shared["normalised"]), rtol=1e-3)
        assert each["devices"] == ["worker 0, cpu:0", "worker 1, cpu:0"]
    for pair in zip(*(each["weights"] for each in found), strict=True):
        assert np.array_equal(*pair)


def test_a_device_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(EngineError, match=r"asks for 'gpu:99', TensorFlow sees .*cpu:0"):
        devices.strategy("gpu:99")


def test_a_device_is_named_once():
    with pytest.raises(SettingsError, match="'cpu:0' is named twice"):
        devices.strategy("cpu:0,cpu:0")


def test_the_cpu_cannot_be_divided_once_it_computes():
    import tensorflow as tf

    tf.constant(1.0)
    with pytest.raises(EngineError, match="cannot be divided into 8 devices any more"):
        devices.strategy("cpu:7")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not set"),
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        ('{"cluster": {"worker": ["a:1"]}}', "it lacks 'task'"),
        (tf_config(2, WORKERS), "task.index 2 names none of 2 workers"),
        (tf_config(0, ["a"]), "no list of host:port"),
        (tf_config(0, WORKERS).replace('"type": "worker"', '"type": "ps"'), "only tasks of the"),
    ],
)
def test_a_broken_tf_config_says_what_is_wrong_and_shows_a_right_one(text, reason, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(SettingsError, match=reason) as caught:
        devices.strategy("workers")
    example = caught.value.hint.partition("TF_CONFIG=")[2].strip("'")
    monkeypatch.setenv("TF_CONFIG", example)
    assert len(devices.read_tf_config()["cluster"]["worker"]) == 2


@pytest.mark.parametrize("value", ["tpu", "gpu", "gpu:0,", "cpu:x", 3, ["gpu:0", "all"]])
def test_an_unknown_device_is_refused_with_those_that_are_known(value):
    with pytest.raises(ValueError, match="auto, cpu, gpus, workers, or devices as in gpu:0,gpu:1"):
        Training(devices=value)


def test_a_list_of_devices_is_as_good_as_a_line():
    assert Training(devices=["gpu:0", "gpu:1"]).devices == "gpu:0,gpu:1"


def test_one_device_shares_any_batch_and_speaks_for_all_workers():
    devices.check_batch(33, "train")
    assert devices.is_alone()
    assert devices.of_all_workers(0.5) == [0.5]
