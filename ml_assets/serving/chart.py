"""The watched error and the drift over time as an SVG.

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
    from collections.abc import Sequence
    from datetime import datetime

    from ml_assets.declared.retraining import Retraining
    from ml_assets.serving.queries import State

# Matplotlib's settings belong to the whole process.
_DRAWING = threading.Lock()
# Drawn in these, and then exchanged for the variables: matplotlib knows no CSS.
INK, FAINT, ERROR, LIMIT, PROMOTED = "#202328", "#8a9099", "#1f5fa9", "#b4471f", "#2d7a4b"
VARIABLES = {INK: "--ink", FAINT: "--faint", ERROR: "--error", LIMIT: "--limit", PROMOTED: "--promoted"}
# Points are marked up to so many, and drift is drawn up to so far: beyond, it is as sure as it gets.
MARKED, MOST_DRIFT = 150, 4.0
STYLE = f"""<style>
:root {{ --ink: {INK}; --faint: {FAINT}; --error: {ERROR}; --limit: {LIMIT}; --promoted: {PROMOTED} }}
@media (prefers-color-scheme: dark) {{
:root {{ --ink: #e4e6ea; --faint: #8d949e; --error: #79b0f2; --limit: #f0946c; --promoted: #74c893 }}
}}
text {{ font-family: system-ui, sans-serif !important }}
</style>
"""


@dataclass(frozen=True)
class Point:
    """One partition of a picture.

    Attributes:
        place: a moment; the number of a block, which has none.
        error: its watched error; None where unknown.
        limit: `tolerance` times the test error of its version; None where unknown.
        drift: how near its drift comes to an alarm, which is at 1; None where it was not measured.
        alarms: whether a column alarms.
        retrained: whether a retraining was decided on it, by a policy or by the person that it asked.
        asked: whether a person was asked, and has not said yes.
    """

    place: datetime | int
    error: float | None
    limit: float | None
    drift: float | None
    alarms: bool
    retrained: bool
    asked: bool = False


@dataclass(frozen=True)
class Series:
    """What is drawn.

    Attributes:
        metric: name of the watched error.
        points: the partitions, oldest first.
        promoted: place of the first partition that a version serves, and its number.
        warning: stands in the picture, for it may be shown without its page; or None.
        limit: what the line of limits is called.
    """

    metric: str
    points: tuple[Point, ...]
    promoted: tuple[tuple[datetime | int, int], ...]
    warning: str | None
    limit: str


def limit_title(retraining: Retraining) -> str:
    """What the tolerated error is called: only the policy `performance` retrains above it."""
    is_acted_on = retraining.policy == "performance"
    return "retrain above" if is_acted_on else f"{retraining.tolerance:g} times the test error"


def series_of(state: State, warning: str | None) -> Series:
    """What is drawn of a project, from the first partition that tells anything."""
    settled, calendar = state.project.retraining, state.project.calendar

    def place(start: datetime) -> datetime | int:
        return start if calendar.has_time else calendar.number_of(start)

    agreed = {one.facts.get("decision") for one in state.entries if (one.kind, one.action) == ("answered", "yes")}
    points = []
    for one in state.partitions:
        reference = None if one.error is None else state.reference(one.version)
        limit = None if reference is None else settled.tolerance * reference
        ask = (
            one.decision if one.decision and one.decision.action == "ask" and one.decision.standing == "live" else None
        )
        retrained = one.asks_retraining or (ask is not None and ask.id in agreed)
        points.append(
            Point(
                place(one.start), one.error, limit, one.surprise, bool(one.alarms), retrained,
                asked=ask is not None and not retrained,
            )
        )  # fmt: skip
    promoted = tuple((place(state.project.start_of(entry.partition)), entry.version) for entry in state.promotions)
    return Series(state.project.watched, tuple(points), promoted, warning, limit_title(settled))


@lru_cache(maxsize=32)
def draw(series: Series, *, narrow: bool = False) -> str:
    """The SVG; the same series is drawn once.

    Args:
        series: what is drawn.
        narrow: for a phone: as high as wide, with fewer words.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "ml-assets", "font.size": 11, "text.color": INK}
    with _DRAWING, mpl.rc_context(settings):
        figure = Figure(figsize=(4.2, 4.6) if narrow else (10, 5), layout="constrained", facecolor="none")
        errors, drift = figure.subplots(2, sharex=True, height_ratios=(3, 1.4))
        _plot_errors(errors, series)
        _plot_drift(drift, series)
        _finish((errors, drift), series, ticks=(2, 7) if narrow else (3, 10))
        # Below both, in as many columns as there is room for.
        figure.legend(loc="outside lower center", ncols=2 if narrow else 6, frameon=False, labelcolor=INK, fontsize=9)
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


def _plot_errors(axes: Any, series: Series) -> None:
    from matplotlib.ticker import PercentFormatter

    points = series.points
    places = [one.place for one in points]
    for number, (start, version) in enumerate(series.promoted):
        axes.axvline(start, color=PROMOTED, linewidth=1, linestyle=":", label=None if number else "new champion")
        axes.annotate(
            f"v{version}", (start, 1), xycoords=("data", "axes fraction"), xytext=(3, -11),
            textcoords="offset points", color=PROMOTED, fontsize=9,
        )  # fmt: skip
    limits = [_or_gap(one.limit) for one in points]
    axes.step(places, limits, where="mid", color=LIMIT, linewidth=1, linestyle="--", label=series.limit)
    marker = "o" if len(points) <= MARKED else ""
    errors = [_or_gap(one.error) for one in points]
    axes.plot(places, errors, color=ERROR, linewidth=1.6, marker=marker, markersize=3, label=title_of(series.metric))
    retrained = [(one.place, one.error) for one in points if one.retrained]
    asked = [(one.place, one.error) for one in points if one.asked]
    for found, shape, label in ((retrained, "D", "retraining decided"), (asked, "s", "a person asked")):
        if found:
            # At the axis where the error is not known: drift alone may ask for a retraining.
            x, y = zip(*((start, error or 0.0) for start, error in found), strict=True)
            axes.plot(x, y, color=LIMIT, linestyle="", marker=shape, markersize=7, label=label, clip_on=False)
    # The labels of champions stand at the top: the line must not run into them.
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.1)
    if BY_NAME[series.metric].is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _plot_drift(axes: Any, series: Series) -> None:
    points = series.points
    drift = [_or_gap(None if one.drift is None else min(one.drift, MOST_DRIFT)) for one in points]
    axes.plot([one.place for one in points], drift, color=FAINT, linewidth=1.2)
    axes.axhline(1, color=LIMIT, linewidth=1, linestyle="--")
    alarms = [(one.place, min(one.drift or 1, MOST_DRIFT)) for one in points if one.alarms]
    if alarms:
        x, y = zip(*alarms, strict=True)
        axes.plot(x, y, color=LIMIT, linestyle="", marker="^", markersize=6, label="drift alarm")
    for start, _ in series.promoted:
        axes.axvline(start, color=PROMOTED, linewidth=1, linestyle=":")
    axes.set_ylim(0, max(1.3, *(1.15 * one for one in drift if not math.isnan(one)), 1.3))
    axes.set_ylabel("drift", color=INK, fontsize=9)


def _finish(both: Sequence[Any], series: Series, *, ticks: tuple[int, int]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    axis = both[-1].xaxis
    if any(isinstance(one.place, int) for one in series.points):
        axis.set_major_locator(MaxNLocator(ticks[1], integer=True))
    else:
        locator = AutoDateLocator(minticks=ticks[0], maxticks=ticks[1])  # type: ignore[no-untyped-call]
        axis.set_major_locator(locator)
        axis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))  # type: ignore[no-untyped-call]
    known = [one.place for one in series.points if one.error is not None or one.drift is not None]
    ends = [*known, *(start for start, _ in series.promoted)]
    if len(set(ends)) > 1:
        both[-1].set_xlim(min(ends), max(ends))
    for axes in both:
        axes.margins(x=0.02)
        axes.set_facecolor("none")
        axes.tick_params(colors=FAINT, labelcolor=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)


def _or_gap(value: float | None) -> float:
    """Not a number where there is none: the line has a gap there."""
    return math.nan if value is None else value
