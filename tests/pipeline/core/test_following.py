from __future__ import annotations

import threading
from pathlib import Path

from pipeline.core.following import followed


def test_what_is_written_is_shown_while_it_is_written(tmp_path: Path) -> None:
    log, seen, is_shown = tmp_path / "logs/stage.log", [], threading.Event()

    def show(text: str) -> None:
        seen.append(text)
        is_shown.set()

    with followed(log, show):
        with log.open("a") as stream:
            stream.write("first\n")
        assert is_shown.wait(600)
        assert seen == ["first\n"]
        with log.open("a") as stream:
            stream.write("\x1b[1mlast\x1b[0m\r\n")
    assert "".join(seen) == "first\nlast\n"


def test_what_a_former_run_has_written_is_not_shown(tmp_path: Path) -> None:
    log, seen = tmp_path / "stage.log", []
    log.write_text("old\n")
    with followed(log, seen.append):
        pass
    assert seen == []
