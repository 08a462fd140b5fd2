"""How numbers are written, the same in every format; an unknown one is "-"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.differences import flatten

UNKNOWN = "-"


def percent(share: float | None) -> str:
    """0.9917 -> "99.17 %"."""
    return UNKNOWN if share is None else f"{share * 100:.2f} %"


def points(change: float | None) -> str:
    """-0.278 -> "-0.28", 0.0 -> "0.00"."""
    if change is None:
        return UNKNOWN
    text = f"{change:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def milliseconds(value: float | None) -> str:
    """0.00812 -> "0.00812", 0.4 -> "0.400", 12.34 -> "12.3", 1234.5 -> "1,234".

    Three digits, as `duration` has: the factors beside them follow from what is shown.
    """
    if value is None:
        return UNKNOWN
    decimals = 7 - sum(value >= limit for limit in (0.0001, 0.001, 0.01, 0.1, 1, 10, 100))
    return f"{value:,.{decimals}f}"


def times(factor: float | None) -> str:
    """6.93 -> "6.9x", 12.3 -> "12x", 0.853 -> "0.85x", 0.0123 -> "0.012x"."""
    if factor is None:
        return UNKNOWN
    if factor < 0.995:
        return f"{factor:.2f}x" if factor >= 0.095 else f"{factor:.2g}x"
    return f"{factor:.1f}x" if factor < 9.95 else f"{factor:.0f}x"


def compared(factor: float, more: str, less: str, same: str) -> str:
    """ "7.0x faster" where `more` is "faster"; below 1 the inverse with `less`, around 1 `same`."""
    amount = times(max(factor, 1 / factor))
    if amount == "1.0x":
        return same
    return f"{amount} {more if factor > 1 else less}"


def size(size_bytes: float | None) -> str:
    """1_724_000 -> "1.72 MB"; k and M are decimal, as disks count."""
    if size_bytes is None:
        return UNKNOWN
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    if size_bytes < 999_500:
        return f"{size_bytes / 1e3:.3g} kB"
    return f"{size_bytes / 1e6:.3g} MB" if size_bytes < 999.5e6 else f"{size_bytes / 1e6:,.0f} MB"


def mebibytes(value: float | None) -> str:
    """12.34 -> "12.3"."""
    return UNKNOWN if value is None else f"{value:,.1f}"


def millijoules(value: float | None) -> str:
    """0.01234 -> "0.0123", 123.4 -> "123"."""
    return UNKNOWN if value is None else f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def count(value: float | None) -> str:
    """421642 -> "421,642"."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def duration(milliseconds: float) -> str:
    """With the unit that suits it: 0.0352 -> "35.2 µs", 1.5 -> "1.50 ms", 2500.0 -> "2.50 s"."""
    for limit, scale, unit in ((0.9995, 1e3, "µs"), (999.5, 1.0, "ms")):
        if milliseconds < limit:
            return f"{_three_digits(milliseconds * scale)} {unit}"
    return f"{_three_digits(milliseconds / 1e3)} s"


def tick(milliseconds: float) -> str:
    """A round duration on an axis: 0.02 -> "20 µs", 5.0 -> "5 ms", 2000.0 -> "2 s"."""
    for limit, scale, unit in ((0.9995, 1e3, "µs"), (999.5, 1.0, "ms")):
        if milliseconds < limit:
            return f"{milliseconds * scale:g} {unit}"
    return f"{milliseconds / 1e3:g} s"


def _three_digits(value: float) -> str:
    decimals = 2 - sum(value >= limit for limit in (9.995, 99.95))
    return f"{value:,.{max(decimals, 0)}f}"


def images(number: int) -> str:
    """1 -> "one image", 32 -> "32 images"."""
    return "one image" if number == 1 else f"{number:,} images"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def shortened(names: Sequence[str], limit: int = 60) -> str:
    """Names with commas between; a list longer than `limit` characters is cut to its first."""
    text = ", ".join(names)
    return text if len(text) <= limit else f"{names[0]} and {len(names) - 1} more"


def spelled(values: Mapping[str, Any]) -> dict[str, str]:
    """{"cpu": {"cores": 2}} -> {"cpu.cores": "2"}; what is None is left out."""
    return {name: _spelled(value) for name, value in flatten(values) if value is not None}


def _spelled(value: Any) -> str:
    """["fp32", "int8"] -> "fp32, int8", {} -> "none"; fractions keep four significant digits."""
    if isinstance(value, (list, tuple, Mapping)):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
