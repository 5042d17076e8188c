"""The pictures of a replay as PNG; the numbers stand in its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_assets.core.drawing import INK, OTHERS, PALETTE, as_png, drawable, figure_of, plain
from ml_assets.core.tasks import BY_NAME, title_of

if TYPE_CHECKING:
    from ml_assets.core.replay_report import Report

PICTURES = {"over_time": "The error over time under each policy", "frontier": "What retrainings buy"}
KEYS = 8  # named along the axis of time


def draw_replay(found: Report) -> dict[str, bytes]:
    """Both pictures: name → PNG."""
    return {"over_time": as_png(_over_time(found)), "frontier": as_png(_frontier(found))}


def _over_time(found: Report) -> Any:
    figure = figure_of(9, 3.6)
    axes = figure.subplots()
    place = {key: number for number, key in enumerate(found.partitions)}
    for number, one in enumerate(found.policies):
        colour = OTHERS if one.policy == "never" else PALETTE[number % len(PALETTE)]
        axes.plot(one.errors, color=colour, linewidth=1.3, label=f"{one.policy} ({one.retrainings})")
        for keys, marker in ((one.retrained, "D"), (one.reinstated, "^")):
            at = [place[key] for key in keys]
            axes.plot(at, [one.errors[each] for each in at], marker, color=colour, markersize=4)
    step = max(1, len(found.partitions) // KEYS)
    axes.set_xticks(range(0, len(found.partitions), step), [drawable(key) for key in found.partitions[::step]])
    plain(axes, f"{title_of(found.metric)}: ◆ retrained, ▲ reinstated")
    _finish(axes, found)
    return figure


def _frontier(found: Report) -> Any:
    figure = figure_of(6, 3.6)
    axes = figure.subplots()
    for name, colour, words in (
        ("oracle", OTHERS, "the best in hindsight"),
        ("periodic", PALETTE[1], "evenly spaced, tuned in hindsight"),
    ):
        axes.plot(*zip(*found.frontier[name], strict=True), "-", color=colour, linewidth=1.3, label=words)
    prices = zip(*found.frontier["worth_it"], strict=True)
    axes.plot(*prices, "o", color=PALETTE[0], markersize=4, label="worth_it at several prices")
    for number, one in enumerate(one for one in found.policies if one.policy != "never"):
        axes.plot([one.retrainings], [one.error], "D", color=PALETTE[2 + number], markersize=5, label=one.policy)
    axes.set_xlabel("retrainings", color=INK)
    plain(axes, title_of(found.metric))
    _finish(axes, found)
    # What no retraining loses would press all else together.
    errors = [error for number, error in found.frontier["periodic"] if number]
    if errors:
        axes.set_ylim(0.95 * min(error for _, error in found.frontier["oracle"]), 1.05 * max(errors))
    return figure


def _finish(axes: Any, found: Report) -> None:
    from matplotlib.ticker import PercentFormatter

    if BY_NAME[found.metric].is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
