"""What a run shows while it runs: a bar per stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from pipeline.core.following import followed
from pipeline.core.remaining import Remaining

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

NAME_WIDTH = 10

Step = tuple[int, int]
Detail = Literal["quiet", "normal", "verbose"]


class Display(Protocol):
    """Events of a run, as the runner reports them; a context manager around the run."""

    def __enter__(self) -> Display:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""

    def skip(self, stage: str) -> None:
        """`stage` is fresh."""

    def start(self, stage: str, reason: str) -> None:
        """`stage` starts, because of `reason`."""

    def progress(self, level: str, text: str, step: Step | None) -> None:
        """The running stage says `text`; `step` is (done, total) where known."""

    def printed(self, log: Path) -> AbstractContextManager[None]:
        """The stage runs in this context; what it prints goes to `log`."""

    def finish(self, stage: str, seconds: float) -> None:
        """`stage` is done."""

    def warn(self, text: str) -> None:
        """Something the user should know, though the run continues."""


class Lines:
    """One plain line per event on stdout, warnings on stderr: for pipes and log files."""

    def __init__(self, remaining: Remaining | None = None) -> None:
        self._stage = ""
        self._remaining = remaining or Remaining()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def _say(self, stage: str, text: str) -> None:
        print(f"{stage:{NAME_WIDTH}} {text}", flush=True)

    def skip(self, stage: str) -> None:
        self._say(stage, "fresh, skipped")

    def start(self, stage: str, reason: str) -> None:
        self._stage = stage
        self._remaining.after(None)
        self._say(stage, f"starts ({reason})")

    def progress(self, level: str, text: str, step: Step | None) -> None:
        if level != "INFO":
            self.warn(f"{self._stage}: {text}")
            return
        numbered = f"[{step[0]}/{step[1]}] {text}" if step else text
        left = self._remaining.after(step)
        self._say(self._stage, f"{numbered} ({left})" if left else numbered)

    def printed(self, log: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self, stage: str, seconds: float) -> None:
        self._say(stage, f"done in {seconds:.1f} s")

    def warn(self, text: str) -> None:
        sys.stdout.flush()
        print(f"warning: {text}", file=sys.stderr, flush=True)


class Everything(Lines):
    """All that the stages print, in place of what they report: that is a part of it."""

    def progress(self, level: str, text: str, step: Step | None) -> None:
        if level != "INFO":
            super().progress(level, text, step)

    def printed(self, log: Path) -> AbstractContextManager[None]:
        def show(text: str) -> None:
            sys.stdout.write(text)
            sys.stdout.flush()

        return followed(log, show)


class Nothing(Lines):
    """Not even warnings: for who wants the verdict alone."""

    def _say(self, stage: str, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Bars:
    """A bar for the running stage, a line above it for each one that is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._remaining = Remaining()

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._bar = None

    def _say(self, stage: str, style: str, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble((f"{stage:{NAME_WIDTH}} ", style), text))

    def skip(self, stage: str) -> None:
        self._say(stage, "dim", "fresh, skipped")

    def start(self, stage: str, reason: str) -> None:
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._stage = stage
        self._remaining.after(None)
        self._say(stage, "dim", f"starts ({reason})")
        columns = (
            TextColumn(f"[bold]{escape(stage):{NAME_WIDTH}}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[left]}"),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._bar = self._progress.add_task("", total=None, left="")
        self._progress.start()

    def progress(self, level: str, text: str, step: Step | None) -> None:
        if self._progress is None or self._bar is None:
            return
        if level != "INFO":
            self.warn(f"{self._stage}: {text}")
            return
        done, total = step or (0, None)
        self._progress.update(
            self._bar,
            description=text,
            completed=done,
            total=total,
            left=self._remaining.after(step),
            refresh=True,
        )

    def printed(self, log: Path) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self, stage: str, seconds: float) -> None:
        self._close()
        self._say(stage, "bold", f"done in {seconds:.1f} s")

    def warn(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(("warning: ", "yellow"), text))


def console(is_terminal: bool | None = None) -> Console:
    """A rich console for stdout that never writes control characters into a pipe."""
    from rich.console import Console

    if has_bars() if is_terminal is None else is_terminal:
        return Console(highlight=False)
    return Console(force_terminal=False, width=PIPE_COLUMNS, highlight=False)


PIPE_COLUMNS = 160
"""A pipe has no width: wide enough that no table is cut."""


def display(detail: Detail = "normal") -> Display:
    """The display that suits stdout, or what the user asked for."""
    if detail != "normal":
        return Nothing() if detail == "quiet" else Everything()
    return Bars(console()) if has_bars() else Lines()


def has_bars() -> bool:
    """Whether stdout can show something that moves: a terminal can, and the cell of a notebook."""
    return sys.stdout.isatty() or _is_notebook()


def _is_notebook() -> bool:
    """Only a notebook's kernel has loaded the first; rich draws bars there with the second."""
    return "ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None
