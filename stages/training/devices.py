"""Where a training runs: one device, several of this host, or several hosts."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from stages import progress
from stages.errors import EngineError, SettingsError, StageCrashed

TF_CONFIG = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["host-a:5000", "host-b:5000"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.InternalError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
)
"""What TensorFlow raises on the workers that are left when one is gone."""


@functools.cache
def strategy(devices: str) -> tf.distribute.Strategy:
    """The strategy for `train.devices`; models have to be made or loaded in its scope.

    Call it before TensorFlow has computed anything. Raises SettingsError for a broken TF_CONFIG,
    EngineError for a device that is not there.
    """
    _grow_memory()
    if devices == "auto":
        return tf.distribute.get_strategy()
    if devices == "workers":
        return _workers()
    names = _names(devices)
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)


def describe() -> list[str]:
    """The devices of the current strategy, of all workers: "gpu:0", or "worker 1, gpu:0"."""
    if not tf.distribute.has_strategy():
        gpus = tf.config.list_logical_devices("GPU")  # TensorFlow's own choice, if there are any
        return [_short((gpus or tf.config.list_logical_devices("CPU"))[0].name)]
    names = tf.distribute.get_strategy().extended.worker_devices
    if is_alone():
        return [_short(name) for name in names]
    workers = len(read_tf_config()["cluster"]["worker"])
    return [f"worker {number}, {_short(name)}" for number in range(workers) for name in names]


def is_alone() -> bool:
    """Whether the current strategy has no other hosts."""
    return not isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


def check_batch(batch_size: int, label: str) -> None:
    """Raises SettingsError for a batch that the devices cannot share equally."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if batch_size % replicas:
        raise SettingsError(
            f"{label}.batch_size is {batch_size}, which {replicas} devices cannot share equally",
            f"take a multiple: --set {label}.batch_size={-(-batch_size // replicas) * replicas}",
        )


def of_all_workers(value: float) -> list[float]:
    """`value` of every worker, the same list on all of them; without workers, of this process."""
    if is_alone():
        return [value]
    current = tf.distribute.get_strategy()
    index, workers = read_tf_config()["task"]["index"], len(read_tf_config()["cluster"]["worker"])
    # Every device of this worker adds its part to the sum.
    own = tf.one_hot(index, workers) * value / len(current.extended.worker_devices)
    return [float(each) for each in _summed(own).numpy()]


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _summed(own: tf.Tensor) -> tf.Tensor:
    """The sum of the tensors `own` of all devices of all workers."""

    def total() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))

    current = tf.distribute.get_strategy()
    return current.experimental_local_results(current.run(total))[0]


@contextlib.contextmanager
def explaining_lost_workers() -> Iterator[None]:
    """Turns the errors of a lost worker into StageCrashed, where there are other workers."""
    try:
        yield
    except LOST as error:
        if is_alone():
            raise
        raise StageCrashed(
            f"another worker was lost, or cannot be reached: {_reason(error)}",
            "start the same command on all workers again: it resumes after the last epoch",
        ) from error


def _grow_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it: engines are timed on the same GPU."""
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # It is computing already: too late, no harm.
            tf.config.experimental.set_memory_growth(gpu, True)


def _names(devices: str) -> list[str]:
    """Device names of this host for a setting that is neither `auto` nor `workers`."""
    gpus = [f"gpu:{number}" for number in range(len(tf.config.list_physical_devices("GPU")))]
    if devices == "gpus":
        names = gpus or ["gpu:0"]
    else:
        names = ["cpu:0"] if devices == "cpu" else devices.split(",")
    if double := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"devices: {double.pop()!r} is named twice in {devices!r}")
    numbers = [int(name.partition(":")[2]) for name in names if name.startswith("cpu")]
    if numbers and max(numbers) > 0:
        _split_cpu(max(numbers) + 1)
    here = [_short(device.name) for device in tf.config.list_logical_devices()]
    if missing := [name for name in names if name not in here]:
        raise EngineError(
            f"devices: {devices!r} asks for {missing[0]!r}, TensorFlow sees {', '.join(here)}",
            "choose among them, or leave it to auto" if gpus else "check the driver: nvidia-smi",
        )
    return names


def _split_cpu(count: int) -> None:
    """Make `count` logical devices of the CPU, to try out what several GPUs would do."""
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [0]) == count:
        return
    try:
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    except RuntimeError as error:
        raise EngineError(
            f"the CPU cannot be divided into {count} devices any more: {error}",
            "run this stage alone, or give all stages of the run the same devices",
        ) from error


def _workers() -> tf.distribute.Strategy:
    config = read_tf_config()
    workers = config["cluster"]["worker"]
    progress.report(f"worker {config['task']['index']} of {len(workers)} waits for the others")
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, *LOST) as error:
        raise EngineError(
            f"the workers {', '.join(workers)} did not come together: {_reason(error)}",
            "start all of them within a few minutes, each with its own index in TF_CONFIG",
        ) from error


def read_tf_config() -> dict[str, Any]:
    """The checked content of the environment variable TF_CONFIG. Raises SettingsError."""
    text = os.environ.get(TF_CONFIG, "")
    try:
        if not text:
            raise ValueError("it is not set")
        config: dict[str, Any] = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        if set(config["cluster"]) != {"worker"} or task["type"] != "worker":
            raise ValueError("only tasks of the type 'worker' are known")
        if not workers or not all(":" in worker for worker in workers):
            raise ValueError("cluster.worker is no list of host:port")
        if task["index"] not in range(len(workers)):
            raise ValueError(f"task.index {task['index']!r} names none of {len(workers)} workers")
    except KeyError as error:
        raise _broken(f"it lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _broken(str(error)) from error
    return config


def _broken(reason: str) -> SettingsError:
    return SettingsError(
        f"devices is 'workers', but TF_CONFIG does not say who they are: {reason}",
        f"on the first of two hosts: export TF_CONFIG='{EXAMPLE}'",
    )


def _reason(error: Exception) -> str:
    """The first sentence of a message of TensorFlow, without the name of the node."""
    return re.sub(r"^{{.*?}} ", "", str(error)).splitlines()[0].split(". ")[0][:200]


def _short(name: str) -> str:
    """ "gpu:0" of "/job:localhost/replica:0/task:0/device:GPU:0"."""
    return ":".join(name.lower().split(":")[-2:])
