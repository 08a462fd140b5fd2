"""What a search costs beside its trials, and how many trials an hour a number of workers does.

    python benchmarks/search_scale.py [--place local] [--workers 1 2 4] [--trials 12] [--seconds 2]
    python benchmarks/search_scale.py --place driver --workers 100 --trials 1000 --seconds 4

Trials sleep and then answer with sums; all else is the search as it is: Optuna's storage in a file,
processes and tasks that are started, jobs and results that travel. Prints a Markdown table. A trial
is one job here (`search.rungs=[1.0]`); with the default rungs it is up to three.

`local` is what `--workers` uses. `ray` begins a cluster of that many nodes on this machine, where
Ray wants a network of its own:

    unshare --net sh -c 'ip link set lo up && exec python benchmarks/search_scale.py --place ray'

`driver` is threads of this process: what is left is asking, telling and deciding.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline import config
from pipeline.core.hashing import key_of
from pipeline.search import knobs
from pipeline.search.driver import Driver
from pipeline.search.job import Job, stages_of_trial
from pipeline.search.live import Quiet
from pipeline.search.model import RungResult
from pipeline.search.places import Done, Place
from pipeline.search.places.local import Local, Work
from pipeline.search.places.ray import Ray
from pipeline.search.study import Study, address
from stages.engines import environment
from stages.results.comparing import AgainstReference
from stages.results.machine import MachineFacts
from stages.settings import Settings

SECONDS = "SEARCH_SCALE_SECONDS"
WORK: Work = ("benchmarks.search_scale", "sleeping")


def sleeping(job: Job, tell: Callable[[str], None]) -> RungResult:
    """A trial that takes its seconds, and whose accuracy and latency fall with what is pruned."""
    tell("sleep")
    time.sleep(float(os.environ[SECONDS]))
    prune = Settings.model_validate(job.settings).prune
    share = 1.0 - 0.9 * prune.ratio
    return RungResult(
        rung=job.rung or 0,
        engine="litert.int8",
        threads=1,
        timed=key_of(prune.model_dump(mode="json")),
        trained=key_of("the same for all"),
        top1=0.99 - 0.3 * prune.ratio**2 - 10 * abs(prune.learning_rate - 1e-3),
        trained_top1=0.99,
        samples=1000,
        size_bytes=round(1e6 * share),
        latency=AgainstReference(
            p50_ms=share,
            reference_p50_ms=1.0,
            ratio=share,
            ratio_low=share,
            ratio_high=share,
            stable=True,
            windows=5,
        ),
        seconds=0.0,
    )


class Threads:
    """A place that costs nothing: its jobs sleep in threads of this process."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._heard: queue.SimpleQueue[Done] = queue.SimpleQueue()

    @property
    def machine(self) -> MachineFacts:
        return environment.describe()

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, job: Job) -> None:
        def work() -> None:
            try:
                done = Done(job, sleeping(job, lambda stage: None))
            except Exception as error:
                done = Done(job, error=error)
            self._heard.put(done)

        threading.Thread(target=work).start()

    def wait(self) -> Done:
        return self._heard.get()


@contextlib.contextmanager
def place(kind: str, workers: int, folder: Path) -> Iterator[Place]:
    """Where the jobs run; a cluster is there before the clock starts."""
    if kind == "ray":
        with cluster(workers) as address, Ray(address, 1, folder, work=WORK) as found:
            yield found
    else:
        found = Threads(workers) if kind == "driver" else Local(workers, folder / ".logs", WORK)
        with found:
            yield found


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """A Ray cluster of that many nodes on this machine; the driver is on the first."""
    from ray.cluster_utils import Cluster

    own = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    head = {**own, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes - 1):
            started.add_node(**own)
        yield started.address
    finally:
        started.shutdown()


def searched(where: Place, folder: Path, trials: int) -> tuple[float, float]:
    """Seconds of a search, by the wall and of this process's CPU."""
    settings = config.load(None, [f"search.trials={trials}", "search.rungs=[1.0]"])
    count = len(settings.search.objectives)
    study = Study(address(None, folder), "scale", count, settings.search.seed, is_new=True)
    varied = knobs.dimensions(settings, stages_of_trial())
    driver = Driver(settings, varied, study, where, Quiet(), folder, folder.parent)
    begin, used = time.perf_counter(), time.process_time()
    driver.run()
    wall, cpu = time.perf_counter() - begin, time.process_time() - used
    if [each.state for each in study.trials()] != ["complete"] * trials:
        raise SystemExit("not all trials are complete: these figures would be of fewer")
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--place", choices=["local", "ray", "driver"], default="local")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a trial sleeps")
    given = parser.parse_args()
    os.environ[SECONDS] = str(given.seconds)
    root = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    print("| place | workers | trials | trials/hour | overhead | driver's CPU | memory |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for workers in given.workers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "search")
            folder.mkdir()
            with place(given.place, workers, folder) as where:
                wall, cpu = searched(where, folder, given.trials)
        # Each worker does its share of the trials, one after the other.
        overhead = wall * workers / given.trials - given.seconds
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {given.place} | {workers} | {given.trials} | {3600 * given.trials / wall:.0f} | "
            f"{overhead:.2f} s | {1000 * cpu / given.trials:.0f} ms | {memory:.0f} MiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
