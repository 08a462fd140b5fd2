"""Numbers read back from sentences: what they may have been before they were rounded."""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 1e-9


@dataclass(frozen=True)
class Shown:
    """All values that are written as one text."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        slack = SLACK * max(1.0, abs(value))
        return self.low - slack <= value <= self.high + slack

    def __sub__(self, other: Shown) -> Shown:
        return Shown(self.low - other.high, self.high - other.low)

    def __truediv__(self, other: Shown) -> Shown:
        return Shown(self.low / other.high, self.high / max(other.low, SLACK))

    def __mul__(self, other: Shown) -> Shown:
        return Shown(self.low * other.low, self.high * other.high)

    def meets(self, other: Shown) -> bool:
        """Whether the two texts can be of one value."""
        slack = SLACK * max(1.0, abs(self.high), abs(other.high))
        return self.low - slack <= other.high and other.low - slack <= self.high


def shown(text: str) -> Shown:
    """ "7.0x", "-0.56", "98.33 %", "1,234": half a unit of the last digit either way."""
    digits = text.replace(",", "").rstrip(" x%!*")
    mantissa, _, exponent = digits.partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    half = 0.5 * 10.0**-decimals
    return Shown(float(digits) - half, float(digits) + half)
