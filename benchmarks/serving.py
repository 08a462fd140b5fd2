"""An exported engine on a real Triton server, beside the bare engine.

    make triton
    pipeline export --to models --format triton
    python benchmarks/serving.py models [--clients 1 2 4 8] [--images 1] [--seconds 5]

Prints a Markdown table. The server is the one that the package nvidia-pytriton carries, on this
machine, asked over HTTP with binary tensors. A client is a process that sends `--images` images and
waits for the answer, again and again; a "bare" client has the engine in its own process instead.
Both take turns. Clients and server share the cores. Every answer is compared with the engine's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pipeline
from pipeline.bundle import contents
from pipeline.bundle.contents import Bundle
from pipeline.bundle.triton import CONFIG, VERSION
from stages.numerics import fields

READY_SECONDS = 300.0
WARM_UP_CALLS = 20
TOLERANCE = 1e-4
"""Of the largest output: a batch of another size may be added in another order."""


def blocker() -> str | None:
    """Why the server cannot run here, if so."""
    absent = [name for name in ("pytriton", "tritonclient") if not importlib.util.find_spec(name)]
    if absent:
        return (
            f"nvidia-pytriton and tritonclient are not installed ({', '.join(absent)}): make triton"
        )
    if not _stub().is_file():
        return f"nvidia-pytriton has no Python backend for {sys.version.split()[0]}"
    try:
        ctypes.CDLL(str(Path(sysconfig.get_config_var("LIBDIR"), _shared_library())))
    except OSError:
        return f"this Python has no shared library {_shared_library()}, which Triton needs"
    return None


def _site_packages() -> Path:
    return Path(str(importlib.metadata.distribution("nvidia-pytriton").locate_file("")))


def _stub() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    server = _site_packages() / "pytriton" / "tritonserver"
    return server / "python_backend_stubs" / version / "triton_python_backend_stub"


def _shared_library() -> str:
    return str(sysconfig.get_config_var("INSTSONAME"))


@contextmanager
def server(models: Path) -> Iterator[str]:
    """Serve a copy of the repository `models`, and give its address.

    A model without a folder `packages` gets those of this Python.

    Raises RuntimeError with the server's last lines if it does not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="triton-") as folder:
        work = Path(folder)
        shutil.copytree(models, work / "models")
        for version in (work / "models").glob(f"*/{VERSION}"):
            if not (version / "packages").exists():
                (version / "packages").symlink_to(sysconfig.get_path("purelib"))
        _write_backend(work / "backends" / "python")
        address = f"127.0.0.1:{free_ports(1)[0]}"
        with (work / "log").open("wb") as log:
            child = subprocess.Popen(
                _command(work, address), env=_environment(), stdout=log, stderr=log
            )
        try:
            _wait(child, address, work / "log")
            yield address
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _write_backend(folder: Path) -> None:
    """Triton's Python backend for the Python that runs this."""
    backend = _site_packages() / "pytriton" / "tritonserver" / "backends" / "python"
    shutil.copytree(backend, folder)
    shutil.copy(_stub(), folder)


def _command(work: Path, address: str) -> list[str]:
    host, port = address.split(":")
    program = _site_packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    options = {
        "model-repository": work / "models",
        "backend-directory": work / "backends",
        "http-address": host,
        "http-port": port,
        "allow-grpc": "false",
        "allow-metrics": "false",
    }
    return [str(program), *(f"--{name}={value}" for name, value in options.items())]


def _environment() -> dict[str, str]:
    """Ours, with the base Python first, and without what would show the server our packages."""
    paths = [_site_packages() / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **kept,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, paths)),
        "PATH": os.pathsep.join([f"{sys.base_prefix}/bin", os.environ.get("PATH", "")]),
    }


def free_ports(count: int) -> list[int]:
    """Below those that the system hands out by itself: nobody is given one in the meantime."""
    found = list[int]()
    for port in random.SystemRandom().sample(range(10_000, 32_768), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"{count} free ports were not found")


def _wait(child: subprocess.Popen[bytes], address: str, log: Path) -> None:
    from tritonclient.http import InferenceServerClient

    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and child.poll() is None:
        try:
            with InferenceServerClient(address) as client:
                if client.is_server_ready():
                    return
        except OSError:
            pass
        time.sleep(0.1)
    tail = log.read_text(errors="replace").splitlines()[-80:]
    raise RuntimeError("the server did not get ready:\n" + "\n".join(tail))


class Remote:
    """A model on a server, called like an engine."""

    def __init__(self, address: str, model: str, bundle: Bundle) -> None:
        from tritonclient import http

        self._http, self._model = http, model
        self._client = http.InferenceServerClient(address, network_timeout=60)
        self._signature = bundle.signature

    def infer(self, images: Any) -> NDArray[np.float32]:
        """What Signature.feed gives for N images -> what `Engine.infer` gives for it."""
        given = []
        for name, array in self._signature.by_name(images).items():
            kind = {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name]
            given.append(self._http.InferInput(name, list(array.shape), kind))
            given[-1].set_data_from_numpy(array)
        names = self._signature.output_names
        wanted = [self._http.InferRequestedOutput(name) for name in names]
        answer = self._client.infer(self._model, given, outputs=wanted)
        return self._signature.joined([answer.as_numpy(name) for name in names])

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True)
class Load:
    """What one client does with the model whose bundle is in the folder `version`.

    `address` None stands for the bare engine.
    """

    version: Path
    address: str | None
    images: int
    seconds: float


def only_version(models: Path) -> Path:
    """The bundle of the only model of a repository. Exits if there is no such."""
    found = [config.parent / VERSION for config in models.glob(f"*/{CONFIG}")]
    if len(found) != 1:
        sys.exit(
            f"{models} holds {len(found)} models, expected one: pipeline export --format triton"
        )
    return found[0]


def _client(load: Load, seed: int, start: Any, results: Any) -> None:
    """In a process of its own: milliseconds of each call, and how many answers were wrong."""
    with pipeline.load(load.version) as engine:
        bundle = engine.info
        # Of each client others, so that an answer of another one is seen.
        pixels = bundle.signature.noise(load.images + seed)[seed:]
        images = bundle.signature.feed(pixels)
        expected = engine.predict(pixels).outputs
        call: Callable[[], NDArray[np.float32]]
        if load.address is None:
            call = lambda: engine._engine.infer(images)  # noqa: E731
        else:
            remote = Remote(load.address, load.version.parent.name, bundle)
            call = lambda: remote.infer(images)  # noqa: E731
        for _ in range(WARM_UP_CALLS):
            call()
        start.wait()
        milliseconds, answers = _calls(call, load.seconds)
        wrong = sum(not are_close(answer, expected) for answer in answers)
        results.put((milliseconds, wrong))


def are_close(answer: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    """Whether what a network gave is what was expected, of each output by itself."""
    pairs = zip(fields.parts(answer), fields.parts(expected), strict=True)
    return all((np.abs(a - e) <= TOLERANCE * float(np.abs(e).max())).all() for a, e in pairs)


def _calls(
    call: Callable[[], NDArray[np.float32]], seconds: float
) -> tuple[list[float], list[NDArray[np.float32]]]:
    milliseconds, answers = list[float](), list[NDArray[np.float32]]()
    end = time.perf_counter() + seconds
    while not answers or time.perf_counter() < end:
        begin = time.perf_counter()
        answers.append(call())
        milliseconds.append(1000 * (time.perf_counter() - begin))
    return milliseconds, answers


def measure(load: Load, clients: int) -> tuple[NDArray[np.float64], int]:
    """Milliseconds of all calls of `clients` processes that start at once; answers that differ."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(clients), context.Queue()
    children = [
        context.Process(target=_client, args=(load, seed, start, results), daemon=True)
        for seed in range(clients)
    ]
    for child in children:
        child.start()
    found = [results.get(timeout=READY_SECONDS + load.seconds) for _ in children]
    for child in children:
        child.join()
    return np.concatenate([ms for ms, _ in found]), sum(wrong for _, wrong in found)


def row(name: str, clients: int, load: Load) -> str:
    """A row of the table. Exits where an answer was not the engine's."""
    milliseconds, wrong = measure(load, clients)
    if wrong:
        sys.exit(f"{wrong} of {len(milliseconds)} answers differ from the engine's ({name})")
    p50, p99 = np.percentile(milliseconds, [50, 99])
    rate = len(milliseconds) * load.images / load.seconds
    return f"| {name} | {clients} | {p50:.3f} | {p99:.3f} | {rate:,.0f} | {len(milliseconds):,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="An engine on Triton, beside the bare engine.")
    parser.add_argument("models", type=Path, help="what pipeline export --format triton wrote")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--images", type=int, default=1, help="of a request")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a row")
    given = parser.parse_args()
    if reason := blocker():
        sys.exit(reason)
    version = only_version(given.models)
    bare = Load(version, None, given.images, given.seconds)
    bundle = contents.read(version)
    print(f"{bundle.engine.name.label}, {bundle.network}, {given.images} images a request\n")
    print("| | clients | p50 ms | p99 ms | images/s | calls |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with server(given.models) as address:
        served = Load(version, address, given.images, given.seconds)
        for clients in given.clients:
            print(row("bare engine", clients, bare), flush=True)
            print(row("Triton", clients, served), flush=True)


if __name__ == "__main__":
    main()
