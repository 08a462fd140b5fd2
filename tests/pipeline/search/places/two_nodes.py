"""Run in a network namespace of its own: a search on a Ray cluster of two nodes, one of which is
killed in the middle of a trial. Prints what came of it as JSON, in the last line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import arithmetic

from pipeline.search.job import Job
from pipeline.search.live import Quiet
from pipeline.search.machine import facts
from pipeline.search.model import RungResult, Tested, Trial
from pipeline.search.places import ray
from pipeline.search.places.ray import Ray
from stages.engines import environment
from stages.errors import MachineError

SECOND = "TEST_IS_ON_THE_SECOND_NODE"
PID = "lost.pid"


def work(job: Job, tell: Callable[[str], None]) -> RungResult | Tested:
    """Sums, which on the second node never end."""
    if SECOND in os.environ:
        Path(job.root, PID).write_text(str(os.getpid()))
        tell("train")
        time.sleep(600)
    return arithmetic.result(job)


class Killing(Quiet):
    """Ends the second node when a trial is under way on it."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self.started_jobs: Counter[tuple[int, int | None]] = Counter()
        self.words: list[str] = []

    def started(self, job: Job) -> None:
        self.started_jobs[job.trial, job.rung] += 1

    def said(self, job: Job, stage: str) -> None:
        self._kill()

    def ended(self, trial: Trial, words: str) -> None:
        self.words.append(f"{trial.number}: {words}")


def main(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    ray.JOIN_SECONDS = 300.0  # A busy machine takes its time.
    own = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**own, "include_dashboard": False})
    second = cluster.add_node(**own, env_vars={SECOND: "1"})
    try:
        refused = refusal(cluster.address, folder)
        shown = Killing(lambda: cluster.remove_node(second, allow_graceful=False))
        with Ray(cluster.address, 1, folder, work=(__name__, "work")) as place:
            search = arithmetic.driver(folder, place, "search.trials=3", "search.rungs=[1.0]")
            search.shown = shown
            slots = place.slots
            search.run()
            found = {
                "refused": refused,
                "slots": [slots, place.slots],
                "is_as_here": facts(place.machine) == facts(environment.describe()),
                "words": shown.words,
                "started": list(shown.started_jobs.values()),
                "states": [each.state for each in search.study.trials()],
            }
    finally:
        cluster.shutdown()
    print(json.dumps(found))


def refusal(address: str, folder: Path) -> str:
    """What is said where the nodes do not see a file that trials need."""
    try:
        with Ray(address, 1, folder, [folder / "images.npz"]):
            return "nothing"
    except MachineError as error:
        return error.message


if __name__ == "__main__":
    # By its own name, which the processes of the nodes import.
    import two_nodes

    two_nodes.main(Path(sys.argv[1]))
