"""Jobs as tasks on a Ray cluster, `workers` at a time on each of its nodes.

A task is a `Local` of one slot on its node. What travels through Ray are jobs and results, a few
kilobytes each; artifacts lie in the artifact folder, which all nodes must share. Every node is
checked for that first. A trial takes its part of the CPUs and GPUs of one node, so that with one
worker nothing else that Ray runs is on the node while an engine is timed; several take turns, as on
one machine.

This module alone imports Ray, and only in its functions.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.search.job import Job
from pipeline.search.places import Done, Lost, Said
from pipeline.search.places.fitness import Seen, difference, see
from pipeline.search.places.local import RUN_JOB, Local, Work
from stages.artifacts.file_lock import waiting
from stages.engines import child
from stages.errors import MachineError, SettingsError
from stages.errors.packages import install, missing, not_installed
from stages.results.machine import MachineFacts

PACKAGE = "ray"
ADDRESS = re.compile(r"auto|[^\s:/]+:\d+")
ANSWER_SECONDS = 5.0
JOIN_SECONDS = 30.0
CHECK_SECONDS = 120.0
"""Of a node that must start a process first."""
TOKEN = ".shared"
GRAIN = 10_000
"""Ray counts resources in such parts of one."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster that trials run on, with what it offers to Ray."""

    key: str
    name: str
    cpus: float
    gpus: float


class Ray:
    """Raises SettingsError for an address that is none, MachineError where Ray is not installed.

    `folder` is that of the search, `files` are what trials read besides. Entering it connects, and
    raises MachineError where the cluster is not there or one of its nodes is not fit.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        folder: Path,
        files: Sequence[Path] = (),
        work: Work = RUN_JOB,
    ) -> None:
        if not ADDRESS.fullmatch(address):
            raise SettingsError(
                f"--cluster: got {address!r}, expected auto or HOST:PORT",
                "the address that `ray start --head` printed, as in 10.0.0.1:6379",
            )
        if absent := missing([PACKAGE]):
            raise MachineError(f"--cluster needs Ray: {not_installed(absent)}", install(absent))
        self._address, self._workers, self._work = address, workers, work
        self._folder = folder.absolute()
        self._files = (Path.cwd(), *(file.absolute() for file in files))
        self._nodes: dict[str, Node] = {}
        self._machine: MachineFacts | None = None
        self._running: dict[Any, tuple[Job, Node]] = {}

    @property
    def slots(self) -> int:
        """Jobs that fit on the nodes that are left. Raises MachineError where none is."""
        if not self._nodes:
            raise MachineError(
                "no node of the cluster is left",
                "call it again when there is one: the search goes on where it was",
            )
        return self._workers * len(self._nodes)

    @property
    def machine(self) -> MachineFacts:
        """That of a node."""
        if self._machine is None:
            raise ValueError("nodes are looked at when the cluster is entered")
        return self._machine

    def __enter__(self) -> Ray:
        with contextlib.ExitStack() as undo:
            undo.callback(_leave)
            _connect(self._address)
            self._nodes = {node.key: node for node in self._fit_nodes()}
            undo.pop_all()
        return self

    def _fit_nodes(self) -> list[Node]:
        nodes = _nodes()
        if not nodes:
            raise MachineError(
                f"the cluster at {self._address} has no node with a CPU",
                "start one on another machine: ray start --address=HOST:PORT",
            )
        self._check(nodes)
        return nodes

    def __exit__(self, *_: object) -> None:
        self._running.clear()
        _leave()

    def start(self, job: Job) -> None:
        """Give the job to the node with the fewest."""
        import ray

        busy = Counter(node.key for _, node in self._running.values())
        node = min(self._nodes.values(), key=lambda each: busy[each.key])
        task = ray.remote(_do).options(
            num_cpus=_part(node.cpus, self._workers),
            num_gpus=_part(node.gpus, self._workers),
            num_returns="streaming",
            # Run again by the search itself, which has to know.
            max_retries=0,
            scheduling_strategy=_only_on(node),
        )
        logs = self._folder / ".logs"
        self._running[task.remote(job, Path.cwd(), logs, self._work)] = (job, node)

    def wait(self) -> Said | Done | Lost:
        """The next that one of them says. A node that was lost gets no job any more."""
        import ray
        from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError

        (stream,), _ = ray.wait(list(self._running), num_returns=1)
        job, node = self._running[stream]
        try:
            heard: Said | Done = ray.get(next(stream))
        except RayTaskError:  # a mistake in our code
            raise
        except (NodeDiedError, TaskUnschedulableError):
            del self._running[stream]
            self._nodes.pop(node.key, None)
            return Lost(job, f"node {node.name} was lost")
        except RayError as error:
            del self._running[stream]
            return Lost(job, f"its process on {node.name} died: {_first_line(error)}")
        if isinstance(heard, Done):
            del self._running[stream]
        return heard

    def _check(self, nodes: Sequence[Node]) -> None:
        """Raise MachineError unless every node can run trials, and all are alike."""
        import ray

        token, check = secrets.token_hex(), ray.remote(see)
        file = self._folder / TOKEN
        file.write_text(token, encoding="utf-8")
        with waiting(file):
            asked = [
                check.options(num_cpus=0, scheduling_strategy=_only_on(node)).remote(
                    file, token, self._files
                )
                for node in nodes
            ]
            seen = [_answer(each, node) for each, node in zip(asked, nodes, strict=True)]
        file.unlink()
        for each, node in zip(seen, nodes, strict=True):
            if each.fault:
                raise MachineError(
                    f"node {node.name} {each.fault}",
                    "all nodes must share the artifact folder, the data and the current folder, "
                    "under the same paths",
                )
            if differing := difference(seen[0], each):
                raise MachineError(
                    f"nodes {nodes[0].name} and {node.name} differ in {differing}",
                    "latencies compare between machines that are alike only: start Ray on those",
                )
        self._machine = seen[0].machine


def _connect(address: str) -> None:
    """Raises MachineError where no cluster answers; Ray itself would try for ever."""
    fault = "" if address == "auto" else _unreachable(address)
    if not fault:
        try:
            child.answer(__name__, "join_and_tell", address, seconds=JOIN_SECONDS)
        except child.ChildFailed as failure:
            fault = failure.in_words
    if fault:
        raise MachineError(
            f"no cluster at {address}: {fault}",
            "begin one with: ray start --head, and join it on this machine too: "
            "ray start --address=HOST:PORT",
        )
    _join(address)


def join_and_tell(address: str) -> None:
    """In a child, which its parent ends where this takes too long."""
    _join(address)
    print("joined", flush=True)


def _join(address: str) -> None:
    # Tasks without a GPU are to see none; without this Ray prints that it will change its mind.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    import ray

    ray.init(
        address=address,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.CRITICAL,
    )


def _leave() -> None:
    """Ray ends the processes of whoever leaves; those of a trial notice, and end too."""
    import ray

    ray.shutdown()


def _unreachable(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        return str(error)
    return ""


def _nodes() -> list[Node]:
    import ray

    return [
        Node(
            each["NodeID"],
            f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']})",
            each["Resources"]["CPU"],
            each["Resources"].get("GPU", 0.0),
        )
        for each in ray.nodes()
        if each["Alive"] and each["Resources"].get("CPU", 0) > 0
    ]


def _only_on(node: Node) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.key, soft=False)


def _part(whole: float, workers: int) -> float:
    """What one of `workers` gets: of several GPUs whole ones, as Ray wants it."""
    part = whole / workers
    return math.floor(part) if part >= 1 else math.floor(part * GRAIN) / GRAIN


def _answer(asked: Any, node: Node) -> Seen:
    import ray
    from ray.exceptions import RayError

    try:
        seen: Seen = ray.get(asked, timeout=CHECK_SECONDS)
    except RayError as error:
        return Seen(f"cannot run this project: {_first_line(error)}")
    return seen


def _first_line(error: Exception) -> str:
    """The last line of a traceback, the first of all else."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if any(each.startswith("Traceback") for each in lines) else lines[0]


def _do(job: Job, current: Path, logs: Path, work: Work) -> Iterator[Said | Done]:
    """On a node: the job in a process of its own, and what is heard of it."""
    os.chdir(current)
    with Local(1, logs / f"{platform.node()}-{os.getpid()}", work) as place:
        place.start(job)
        while True:
            yield (heard := place.wait())
            if isinstance(heard, Done):
                return
