from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from children import environment, output_of

from pipeline.core.display import Lines
from pipeline.core.remaining import Remaining

ON_A_TERMINAL = """
import time
from pipeline.core.display import display
with display() as shown:
    shown.skip("train")
    shown.start("prune", "stale: [bold]prune.ratio[/] 0.5 -> 0.3")
    shown.progress("INFO", "looking [around]", None)
    shown.progress("INFO", "loss 2.5", (2, 24))
    time.sleep(0.2)
    shown.progress("INFO", "loss 1.5", (3, 24))
    shown.progress("WARNING", "channels [odd]", None)
    shown.finish("prune", 12.34)
    shown.start("quantize", "missing")
    raise SystemExit
"""


def on_a_terminal(**changes: str) -> str:
    """What a display writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    defaults = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    inherited = environment()
    inherited.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL],
        stdout=theirs,
        stderr=theirs,
        env={**inherited, **defaults, **changes},
    ):
        os.close(theirs)
        return read_all(ours)


def read_all(descriptor: int) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:  # Linux' way to say that the other end is closed
            piece = b""
        if not piece:
            os.close(descriptor)
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_a_terminal_shows_a_bar_and_keeps_a_line_per_stage() -> None:
    text = on_a_terminal()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "train      fresh, skipped" in plain
    assert "prune      starts (stale: [bold]prune.ratio[/] 0.5 -> 0.3)" in plain
    assert "looking [around]" in plain
    # Minutes where the machine stood still for some seconds between the two steps.
    assert re.search(r"prune +\S+ +3/24 .* \d+ (s|min) left loss 1\.5", plain)
    assert "warning: prune: channels [odd]" in plain
    assert "prune      done in 12.3 s" in plain


def test_the_cursor_comes_back_when_a_stage_fails() -> None:
    text = on_a_terminal()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") > 0


def test_no_color_is_respected() -> None:
    color = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert color.search(on_a_terminal())
    assert not color.search(on_a_terminal(NO_COLOR="1"))


def test_a_dumb_terminal_gets_no_control_characters() -> None:
    assert "\x1b" not in on_a_terminal(TERM="dumb")


def test_a_pipe_gets_a_plain_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as shown:
        shown.skip("train")
        shown.start("prune", "missing")
        shown.progress("INFO", "looking around", None)
        shown.progress("INFO", "loss 1.5", (3, 24))
        shown.finish("prune", 12.34)
    assert capsys.readouterr().out == (
        "train      fresh, skipped\n"
        "prune      starts (missing)\n"
        "prune      looking around\n"
        "prune      [3/24] loss 1.5\n"
        "prune      done in 12.3 s\n"
    )


def test_a_pipe_is_told_how_long_the_rest_takes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([10.0, 13.0, 16.0, 60.0])
    with Lines(Remaining(lambda: next(clock))) as shown:
        shown.start("prune", "missing")
        for epoch in (1, 2, 3):
            shown.progress("INFO", "loss 1.5", (epoch, 24))
        shown.start("quantize", "missing")
        shown.progress("INFO", "loss 1.5", (4, 24))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "prune      [1/24] loss 1.5",
        "prune      [2/24] loss 1.5 (66 s left)",
        "prune      [3/24] loss 1.5 (63 s left)",
        "quantize   starts (missing)",
        "quantize   [4/24] loss 1.5",
    ]


def test_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as shown:
        shown.start("prune", "missing")
        shown.progress("WARNING", "odd channels", None)
        shown.warn("train is stale")
    assert capsys.readouterr().err == "warning: prune: odd channels\nwarning: train is stale\n"


def test_a_display_for_a_pipe_does_not_import_rich() -> None:
    code = (
        "import sys\n"
        "from pipeline.core.display import display\n"
        "with display() as shown:\n"
        "    shown.skip('train')\n"
        "print('rich' in sys.modules)"
    )
    assert output_of(code).endswith("False\n")
