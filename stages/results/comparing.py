"""What the comparison of an engine with a reference measures."""

from stages.results.base import Amount, Count, Measured


class AgainstReference(Measured):
    """Median latency of an engine beside a reference that took turns with it.

    ratio is the median over the windows of engine / reference, with its 95 % interval; stable says
    whether it is certain (stages/numerics/latency.py). millijoules is an upper bound of what one
    call takes: the highest power read of a GPU, times the median; None where none was read.
    """

    p50_ms: Amount
    reference_p50_ms: Amount
    ratio: Amount
    ratio_low: Amount
    ratio_high: Amount
    stable: bool
    windows: Count
    millijoules: Amount | None = None
