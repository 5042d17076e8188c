"""The watched error over time as an SVG.

Its colours are CSS variables with a dark set beside them, and its text is text: so one picture serves a light page, a
dark page and Dagster's UI, at any size.
"""

from __future__ import annotations

import io
import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ml_assets.core.tasks import BY_NAME, title_of

if TYPE_CHECKING:
    from datetime import datetime

    from ml_assets.serving.queries import State

# Matplotlib's settings belong to the whole process.
_DRAWING = threading.Lock()
# Drawn in these, and then exchanged for the variables: matplotlib knows no CSS.
INK, FAINT, ERROR, LIMIT, PROMOTED = "#202328", "#8a9099", "#1f5fa9", "#b4471f", "#2d7a4b"
VARIABLES = {INK: "--ink", FAINT: "--faint", ERROR: "--error", LIMIT: "--limit", PROMOTED: "--promoted"}
STYLE = f"""<style>
:root {{ --ink: {INK}; --faint: {FAINT}; --error: {ERROR}; --limit: {LIMIT}; --promoted: {PROMOTED} }}
@media (prefers-color-scheme: dark) {{
:root {{ --ink: #e4e6ea; --faint: #8d949e; --error: #79b0f2; --limit: #f0946c; --promoted: #74c893 }}
}}
text {{ font-family: system-ui, sans-serif !important }}
</style>
"""


@dataclass(frozen=True)
class Series:
    """What is drawn.

    Attributes:
        metric: name of the watched error.
        points: place of a partition, its error, and the error above which a retraining is due; None where unknown. A
            place is a moment; the number of a block, which has none.
        retrained: places of the partitions on which a retraining was decided.
        promoted: place of the first partition that a version serves, and its number.
        warning: stands in the picture, for it may be shown without its page; or None.
    """

    metric: str
    points: tuple[tuple[datetime | int, float | None, float | None], ...]
    retrained: tuple[datetime | int, ...]
    promoted: tuple[tuple[datetime | int, int], ...]
    warning: str | None


def series_of(state: State, warning: str | None) -> Series:
    """What is drawn of a project."""
    settled, calendar = state.project.retraining, state.project.calendar

    def place(start: datetime) -> datetime | int:
        return start if calendar.has_time else calendar.number_of(start)

    points = []
    for partition in state.partitions:
        reference = None if partition.error is None else state.reference(partition.version)
        limit = None if reference is None else settled.tolerance * reference
        points.append((place(partition.start), partition.error, limit))
    return Series(
        state.project.watched,
        tuple(points),
        tuple(place(one.start) for one in state.partitions if one.error is not None and one.asks_retraining),
        tuple((place(state.project.start_of(entry.partition)), entry.version) for entry in state.promotions),
        warning,
    )


@lru_cache(maxsize=32)
def draw(series: Series) -> str:
    """The SVG; the same series is drawn once."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "ml-assets", "font.size": 11, "text.color": INK}
    with _DRAWING, mpl.rc_context(settings):
        figure = Figure(figsize=(10, 3.6), layout="constrained", facecolor="none")
        _plot(figure.subplots(), series)
        if series.warning:
            figure.suptitle("SIMULATED DATA", color=LIMIT)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    start = svg.index(">", svg.index("<svg")) + 1
    # No document type: nothing in the file may point elsewhere.
    return svg[svg.index("<svg") : start] + STYLE + svg[start:]


def _plot(axes: Any, series: Series) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    starts = [start for start, _, _ in series.points]
    # Not a number where there is none: the line has a gap there.
    errors = [math.nan if error is None else error for _, error, _ in series.points]
    limits = [math.nan if limit is None else limit for _, _, limit in series.points]
    for number, (start, version) in enumerate(series.promoted):
        axes.axvline(start, color=PROMOTED, linewidth=1, linestyle=":", label=None if number else "new champion")
        axes.annotate(
            f"v{version}", (start, 1), xycoords=("data", "axes fraction"), xytext=(3, -11),
            textcoords="offset points", color=PROMOTED, fontsize=9,
        )  # fmt: skip
    axes.step(starts, limits, where="mid", color=LIMIT, linewidth=1, linestyle="--", label="retrain above")
    axes.plot(starts, errors, color=ERROR, linewidth=1.6, marker="o", markersize=3, label=title_of(series.metric))
    asked = [(start, error) for start, error, _ in series.points if start in series.retrained]
    if asked:
        x, y = zip(*asked, strict=True)
        axes.plot(x, y, color=LIMIT, linestyle="", marker="D", markersize=7, label="retraining decided")
    # The labels of champions stand at the top: the line must not run into them.
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.1)
    if BY_NAME[series.metric].is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if any(isinstance(start, int) for start in starts):
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    else:
        locator = AutoDateLocator(maxticks=10)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    axes.set_facecolor("none")
    axes.tick_params(colors=FAINT, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False, labelcolor=INK)
