"""How long the rest of something takes whose length is known."""

from __future__ import annotations

import time
from collections.abc import Callable

FEWEST_SECONDS = 2.0
"""Less is not worth a word."""
MINUTE = 60.0


class Remaining:
    """Estimates from the steps so far, which are taken to be alike; another total begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._total = self._first = 0
        self._since = 0.0

    def after(self, step: tuple[int, int] | None) -> str:
        """ "40 s left" after `step` (done, total), or "" where there is nothing to say yet."""
        if step is None:
            self._total = 0
            return ""
        (done, total), now = step, self._clock()
        if total != self._total or done < self._first:
            self._total, self._first, self._since = total, done, now
        if done == self._first:
            return ""
        return _in_words((now - self._since) / (done - self._first) * (total - done))


def _in_words(seconds: float) -> str:
    if seconds < FEWEST_SECONDS:
        return ""
    return f"{seconds:.0f} s left" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min left"
