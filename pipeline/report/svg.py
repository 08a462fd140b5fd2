"""Matplotlib figures that become part of a page: its colours, its font, text as text.

Matplotlib writes colours as numbers. Every figure is therefore drawn with stand-in colours, and
each is replaced by the CSS variable of the page that it stands for: one drawing serves light
and dark. pyplot, which keeps state, is not used, and nothing in the output depends on the time.

Matplotlib takes half a second to import. The functions here import it when a figure is drawn, so
that the sections, which hold tables as well, cost nothing where only tables are shown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 360.0
"""Of every figure, in its own units: 12 units of text stay legible on a phone of 390 pixels."""

COLOURS = (
    "page", "panel", "text", "quiet", "line", "accent",
    "trained", "fp32", "fp16", "int8", "good", "bad", "bf16", "fp8",
)  # fmt: skip
STAND_IN = {name: f"#0a0b{index + 1:02x}" for index, name in enumerate(COLOURS)}
TEXT, QUIET, LINE = STAND_IN["text"], STAND_IN["quiet"], STAND_IN["line"]
PANEL, ACCENT, BAD = STAND_IN["panel"], STAND_IN["accent"], STAND_IN["bad"]

SMALL = 11

STYLE: Any = {
    "font.size": 12,
    "text.color": TEXT,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "xtick.labelcolor": QUIET,
    "xtick.labelsize": SMALL,
    "ytick.color": LINE,
    "ytick.labelcolor": QUIET,
    "ytick.labelsize": SMALL,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "lines.linewidth": 2,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Chart:
    """A figure with the words that stand for it where it cannot be seen.

    `name` is unique on the page: letters, digits, hyphens.
    """

    name: str
    title: str
    description: str
    figure: Figure


@contextmanager
def styled() -> Iterator[None]:
    """Figures must be drawn and written inside: colours and sizes are read at both times."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def draw(charts: Iterable[Chart]) -> list[tuple[Chart, str]]:
    """The charts, drawn while they are iterated, each with its SVG."""
    with styled():
        return [(chart, to_svg(chart)) for chart in charts]


def panel(height: float, *, left: float = 8, bottom: float = 34, top: float = 10) -> Axes:
    """The axes of a new figure `height` units high; the margins are in units too."""
    return panels(height, 1, left=left, bottom=bottom, top=top)[0]


def panels(
    height: float, count: int, *, left: float = 8, bottom: float = 34, top: float = 10
) -> list[Axes]:
    """As `panel`, with `count` axes above each other that share the horizontal one."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    FigureCanvasSVG(figure)
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=left / WIDTH, right=1 - 10 / WIDTH, bottom=bottom / height, top=1 - top / height,
        hspace=0.14,
    )  # fmt: skip
    return list(axes)


def figure_of(axes: Axes) -> Figure:
    """The figure that the axes are drawn in."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise RuntimeError("axes without a figure")
    return figure


def limit_ticks(axis: Axis, count: int, *, integer: bool = False) -> None:
    """At most `count` intervals between the ticks, at round numbers or at integers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(count, integer=integer))


def log_scale(axes: Axes, low: float, high: float, form: Callable[[float], str]) -> None:
    """Make the horizontal axis logarithmic from `low` to `high`, with 2 to 6 labelled values."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    wide = high / low > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))


def rows_only(axes: Axes, count: int) -> None:
    """Leave out the vertical axis: `count` rows, the first on top, each labelled inside."""
    axes.set_ylim(count - 0.42, -0.6)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if axes.get_xscale() == "linear":
        limit_ticks(axes.xaxis, 5)


def row_label(axes: Axes, row: float, text: str, note: str = "") -> None:
    """Write a row's name above it on the left, and a note on the right."""
    place = axes.get_yaxis_transform()
    axes.text(0, row - 0.3, text, transform=place, va="bottom", fontsize=SMALL)
    if note:
        axes.text(
            1, row - 0.3, note, transform=place, va="bottom", ha="right", fontsize=SMALL,
            color=QUIET,
        )  # fmt: skip


def dot(figure: Figure, x: float, y: float, fill: str, edge: str) -> None:
    """Draw a dot at `x`, `y`, shares of the figure."""
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D([x], [y], marker="o", ms=6, mfc=fill, mec=edge, mew=1.6))


def above_bar(axes: Axes, place: float, height: float, text: str) -> None:
    """Write what a bar stands for above it."""
    axes.annotate(
        text, (place, height), (0, 4), textcoords="offset points", va="bottom", ha="center",
        fontsize=11,
    )  # fmt: skip


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved apart until neighbours are `gap` apart, inside low..high if they fit.

    [1.0, 1.1, 5.0], gap 1 -> about [0.55, 1.55, 5.0]; the order stays.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    clusters: list[tuple[float, list[int]]] = []
    for index in order:
        centre, members = places[index], [index]
        while (
            clusters and centre - clusters[-1][0] < gap * (len(members) + len(clusters[-1][1])) / 2
        ):
            other, others = clusters.pop()
            weight = len(others) + len(members)
            centre = (other * len(others) + centre * len(members)) / weight
            members = others + members
        half = gap * (len(members) - 1) / 2
        centre = max(low + half, min(high - half, centre))
        clusters.append((centre, members))
    moved = [0.0] * len(places)
    for centre, members in clusters:
        for rank, index in enumerate(members):
            moved[index] = centre + gap * (rank - (len(members) - 1) / 2)
    return moved


def to_svg(chart: Chart) -> str:
    """The figure as an SVG element: role img, title and description, colours as variables."""
    import matplotlib

    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": chart.name}):
        chart.figure.savefig(out, format="svg", metadata=nothing)
    return _inline(out.getvalue(), chart)


def _inline(source: str, chart: Chart) -> str:
    from html import escape  # its table of entities weighs, and only the page has figures

    body = source[source.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;?\s*|'DejaVu Sans'[^;\"]*", "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)
    for name, number in STAND_IN.items():
        body = body.replace(number, f"var(--{name})")
    head = (
        f'<svg role="img" aria-labelledby="{chart.name}-title {chart.name}-desc" '
        f'{box[0] if box else ""}><title id="{chart.name}-title">{escape(chart.title)}</title>'
        f'<desc id="{chart.name}-desc">{escape(chart.description)}</desc>'
    )
    return head + body
