"""The tests of this folder run with the real PyCUDA on a stand-in for NVIDIA's driver.

They run in a child process, once for all of them: in this one the stand-in would pass for a
GPU in other tests, and a real driver could not be kept out. The child's reports become those
of the tests here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REPORTS = "CUDA_STAND_IN_REPORTS"
"""Set in the child: the file that it writes its reports to."""

KINDS = ("device_memory", "host_memory", "streams", "events", "graphs")


def _build(folder: Path) -> Path:
    """Compile the stand-in into `folder`."""
    library = folder / "libcuda.so.1"
    options = ("-shared", "-fPIC", "-std=c++17", "-Wl,-soname,libcuda.so.1")
    subprocess.run(["g++", *options, "-o", library, HERE / "driver.cpp"], check=True)
    return library


def _run_child(config: pytest.Config, folder: Path) -> dict[str, list[Any]]:
    """Every test of this folder in a child: node id -> its reports."""
    _build(folder)
    file = folder / "reports.jsonl"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE)],
        cwd=config.rootpath,
        env={**os.environ, "LD_LIBRARY_PATH": path, REPORTS: str(file)},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1) or not file.exists():
        pytest.fail(f"the child process failed:\n{done.stdout}\n{done.stderr}", pytrace=False)
    reports: dict[str, list[Any]] = {}
    for line in file.read_text().splitlines():
        found = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
        reports.setdefault(found.nodeid, []).append(found)
    return reports


class _Children:
    reports: dict[str, list[Any]] | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Hand on what the child reported, instead of running the test here."""
    if REPORTS in os.environ or HERE not in item.path.parents or _missing():
        return None
    if _Children.reports is None:
        factory = item.session.config._tmp_path_factory  # type: ignore[attr-defined]
        _Children.reports = _run_child(item.config, factory.mktemp("stand_in"))
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _Children.reports[item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    if reason := _missing():
        pytest.skip(reason)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the child: write every report down."""
    if REPORTS in os.environ:
        data = _config[0].hook.pytest_report_to_serializable(config=_config[0], report=report)
        with open(os.environ[REPORTS], "a") as file:
            file.write(json.dumps(data) + "\n")


_config: list[pytest.Config] = []


def pytest_configure(config: pytest.Config) -> None:
    _config.append(config)


def _missing() -> str:
    if importlib.util.find_spec("pycuda") is None:
        return "PyCUDA is not installed; to compile it: make pycuda"
    if shutil.which("g++") is None:
        return "g++, which compiles the stand-in for the CUDA driver, is not on the PATH"
    return ""


class StandIn:
    """The stand-in that this process runs on."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._library.standin_trace.restype = ctypes.c_char_p
        self.clear()
        self._before = self._counts()

    def live(self) -> dict[str, int]:
        """What this test took and did not give back, by kind; kinds without any are left out."""
        counts = {kind: count - self._before[kind] for kind, count in self._counts().items()}
        return {kind: count for kind, count in counts.items() if count}

    def _counts(self) -> dict[str, int]:
        return {kind: self._library.standin_live(kind.encode()) for kind in KINDS}

    def fail(self, call: str, code: int, after: int = 1, times: int = 2) -> None:
        """Let the so-many-th `call` from now on fail with an error code of CUDA.

        Twice, because PyCUDA asks again for memory after Python's garbage is collected.
        """
        self._library.standin_fail(call.encode(), after, times, code)

    def release(self, address: int) -> None:
        """Free memory of the GPU that PyCUDA could not free."""
        self._library.cuMemFree_v2(ctypes.c_uint64(address))

    def trace(self) -> list[str]:
        """What the GPU did, in the order in which it was done."""
        return self._library.standin_trace().decode().splitlines()

    def clear(self) -> None:
        """Forget the trace and the failures to come."""
        self._library.standin_clear()

    def compute(self, stream: int, target: int, source: int, floats: int, ms: float = 1.0) -> None:
        """Queue target = source + 1."""
        self._library.standin_compute(
            *(ctypes.c_void_p(stream), ctypes.c_uint64(target), ctypes.c_uint64(source)),
            *(ctypes.c_size_t(floats), ctypes.c_double(ms)),
        )


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    """The stand-in, on which the test must leave nothing behind."""
    stand_in = StandIn()
    yield stand_in
    stand_in.clear()
    assert stand_in.live() == {}
