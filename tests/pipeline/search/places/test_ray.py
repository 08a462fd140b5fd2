from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from children import call, ends_soon

from pipeline.search.places.ray import Ray, _part
from stages.errors import MachineError, SettingsError
from stages.errors.packages import missing

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PATIENCE = {"RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000"}
"""Settings of Ray; it waits for its own processes for 10 and 30 seconds."""
needs_ray = pytest.mark.skipif(bool(missing(["ray"])), reason="Ray is not installed: make cluster")


def namespace() -> list[str]:
    """What a command begins with to have a network of its own; skips where there is none."""
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    for options in (["--net"], ["--net", "--map-root-user"]):
        command = ["unshare", *options, *up]
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], check=False).returncode == 0
        ):
            return command
    pytest.skip("no network namespace can be made here")


@needs_ray
def test_a_search_goes_on_when_a_node_is_lost_in_the_middle_of_a_trial(tmp_path):
    begin = namespace()
    path = os.pathsep.join(map(str, (ROOT, HERE, HERE.parent)))
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as short:
        ended = subprocess.run(
            [*begin, sys.executable, HERE / "two_nodes.py", tmp_path],
            env={**os.environ, **PATIENCE, "PYTHONPATH": path, "TMPDIR": short},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["refused"].endswith(f"does not see '{tmp_path / 'images.npz'}'")
    assert found["slots"] == [2, 1]
    assert found["is_as_here"]
    (lost,) = [each for each in found["words"] if "once more" in each]
    assert "was lost" in lost
    assert sorted(found["started"])[-2:] == [1, 2]
    assert len(found["states"]) == 3
    assert set(found["states"]) == {"complete"}
    assert ends_soon(int((tmp_path / "lost.pid").read_text()))


@needs_ray
def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with (
        pytest.raises(MachineError, match=f"^no cluster at {address}: .*refused"),
        Ray(address, 1, tmp_path),
    ):
        pass


def test_the_command_hands_its_cluster_on(tmp_path):
    said = call("search", "--cluster", "local", "--artifacts", str(tmp_path / "artifacts"))
    assert said.exit_code == 2
    assert "--cluster: got 'local', expected auto or HOST:PORT" in said.output


@needs_ray
def test_without_a_node_nothing_goes_on_as_if_it_had_ended(tmp_path):
    with pytest.raises(MachineError, match="no node of the cluster is left"):
        _ = Ray("auto", 1, tmp_path).slots


@pytest.mark.skipif(not missing(["ray"]), reason="Ray is installed")
def test_without_ray_its_package_is_named(tmp_path):
    with pytest.raises(MachineError) as caught:
        Ray("auto", 1, tmp_path)
    assert caught.value.hint == "pip install ray"


@pytest.mark.parametrize("address", ["local", "10.0.0.1", "ray://10.0.0.1:10001", ""])
def test_what_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(SettingsError, match="expected auto or HOST:PORT"):
        Ray(address, 1, tmp_path)


@pytest.mark.parametrize(
    ("whole", "workers", "part"), [(8.0, 1, 8), (8.0, 3, 2), (1.0, 3, 0.3333), (0.0, 2, 0)]
)
def test_the_parts_of_a_node_fit_on_it(whole, workers, part):
    assert _part(whole, workers) == part
