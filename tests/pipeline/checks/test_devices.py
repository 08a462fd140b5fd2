from __future__ import annotations

from pipeline.checks import devices
from pipeline.core.display import console
from stages.results.asides import DeviceSpeed
from tests.conftest import pipeline


def text(rows: devices.Rows) -> str:
    shown = console(is_terminal=False)
    with shown.capture() as captured:
        shown.print(devices.table(rows))
    return captured.get()


def row(device: str, speed: float, times: float) -> DeviceSpeed:
    return DeviceSpeed(device=device, images_per_second=speed, step_ms=1.5, times_cpu=times)


def test_every_device_has_a_row_with_its_ratio_to_the_cpu():
    lines = text([row("cpu", 2000.0, 1.0), row("gpu:0", 50000.0, 25.0)]).splitlines()
    assert lines[2].split() == ["gpu:0", "50,000", "1.50", "25.0"]
    assert len(lines) == 3


def test_without_a_gpu_that_is_said():
    assert "no GPU" in text([row("cpu", 2000.0, 1.0)])


def test_the_command_trains_on_this_machine_and_leaves_no_artifact(tmp_path):
    settings = ("model.name=lenet", "train.batch_size=128")
    options = [word for setting in settings for word in ("--set", setting)]
    done = pipeline("compare-devices", "--artifacts", tmp_path / "a", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line.split()[:1] == ["cpu"] for line in done.stdout.splitlines())
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".logs"]
