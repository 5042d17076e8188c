"""Pictures of an exploration and of a search as PNG, drawn from numbers that a table beside them holds.

The heatmap's scale differs in lightness from its middle to either end.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ml_assets.core.drawing import (
    INK,
    NARROW,
    OTHERS,
    PAGE,
    PALETTE,
    as_png,
    drawable,
    figure_of,
    grid_of,
    name_below,
    name_ticks,
    plain,
    short_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml_assets.core.columns import Column
    from ml_assets.core.exploration import Exploration, Group

COLUMNS = 12
ASSOCIATIONS = 20
PARTITIONS = 400
LOGARITHMIC = 30  # how many times the least value the greatest is, from which an axis is logarithmic


def pictures(found: Exploration) -> dict[str, bytes]:
    """Every picture for which there is something to draw: name → PNG."""
    drawn: dict[str, Callable[[Exploration], Any] | None] = {
        "target": _target,
        "columns": _columns if _distributed(found) else None,
        "correlation": _correlation if len(found.numbers) > 1 else None,
        "associations": _associations if found.associations else None,
        "relations": _relations if found.relations else None,
        "time": _time if len(found.over_time) > 1 else None,
    }
    return {name: as_png(draw(found)) for name, draw in drawn.items() if draw}


def search_picture(record: Mapping[str, Any]) -> bytes:
    """The trials of a search as PNG: the metric over the trials, and over each parameter that was varied.

    Args:
        record: of a search, as a version keeps it: `trials` with `number`, `parameters`, `share` and `value`, `best`,
            `metric` and `larger_is_better`.
    """
    trials = [trial for trial in record["trials"] if trial["value"] is not None]
    best = next(trial for trial in trials if trial["number"] == record["best"])
    names = list(best["parameters"])[: COLUMNS - 1]
    across = 3 if names else 1
    axes = grid_of(len(names) + 1, across, 2.4)
    better = max if record["larger_is_better"] else min
    whole = [trial for trial in trials if trial["share"] == best["share"]]
    _dots(axes[0], [trial["number"] for trial in trials], trials, best)
    so_far = list(itertools.accumulate((trial["value"] for trial in whole), better))
    axes[0].step([trial["number"] for trial in whole], so_far, where="post", color=PALETTE[1], linewidth=1.2)
    plain(axes[0], f"{record['metric']} by trial")
    for each, name in zip(axes[1:], names, strict=False):
        values = [trial["parameters"].get(name) for trial in trials]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            _dots(each, values, trials, best)
            if min(values) > 0 and max(values) / min(values) > LOGARITHMIC:
                each.set_xscale("log")
        else:
            labels = sorted({str(value) for value in values})
            _dots(each, [labels.index(str(value)) for value in values], trials, best)
            name_below(each, labels)
        plain(each, name)
    return as_png(axes[0].figure)


def _dots(axes: Any, places: Sequence[float], trials: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> None:
    """A dot for each trial, paler the fewer rows it learnt from; the best stands out."""
    for place, trial in zip(places, trials, strict=True):
        chosen = trial["number"] == best["number"]
        axes.plot(
            place, trial["value"], "o", color=PALETTE[5 if chosen else 0], markersize=8 if chosen else 4,
            alpha=1 if chosen else 0.25 + 0.6 * trial["share"], zorder=3 if chosen else 2,
        )  # fmt: skip


def _target(found: Exploration) -> Any:
    column = next(each for each in found.columns if each.name == found.target)
    figure = figure_of(8, 3)
    _distribution(figure.subplots(), column)
    return figure


def _distributed(found: Exploration) -> list[Column]:
    """The columns whose distributions are drawn: those that go with the target most, then the others."""
    order = [each.column for each in found.associations]
    shown = [each for each in found.columns if each.shares and each.name != found.target]
    rank = {name: index for index, name in enumerate(order)}
    return sorted(shown, key=lambda each: rank.get(each.name, len(order)))[:COLUMNS]


def _columns(found: Exploration) -> Any:
    shown = _distributed(found)
    for axes, column in zip(figure_axes := grid_of(len(shown), 3, 2.1), shown, strict=False):
        _distribution(axes, column)
    return figure_axes[0].figure


def _distribution(axes: Any, column: Column) -> None:
    rows = [share.rows for share in column.shares]
    if column.kind == "number" and len(rows) > NARROW + 1:
        axes.bar(range(len(rows)), rows, width=1.0, color=PALETTE[0], edgecolor=PAGE, linewidth=0.4)
        ends = sorted({0, len(rows) // 2, len(rows) - 1})
        labels = [drawable(column.shares[place].label.split(" \N{EN DASH} ")[0]) for place in ends]
        axes.xaxis.set_ticks(ends, labels, parse_math=False)
    elif column.kind == "number":
        axes.bar(range(len(rows)), rows, color=PALETTE[0])
        name_below(axes, [share.label for share in column.shares])
    else:
        axes.barh(range(len(rows)), rows, color=PALETTE[0])
        name_ticks(axes.yaxis, [share.label for share in column.shares], fontsize=8)
        axes.invert_yaxis()
    short_numbers(axes.xaxis if column.kind != "number" else axes.yaxis)
    plain(axes, column.name)


def _correlation(found: Exploration) -> Any:
    import numpy as np  # noqa: PLC0415

    size = len(found.numbers)
    width = max(4.5, 2.4 + 0.42 * size)
    figure = figure_of(width, width * 0.86)
    axes = figure.subplots()
    values = np.array([[np.nan if value is None else value for value in row] for row in found.correlation])
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    name_ticks(axes.yaxis, found.numbers)
    name_ticks(axes.xaxis, found.numbers, rotation=40, ha="right", rotation_mode="anchor")
    if size <= NARROW + 3:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = PAGE if abs(value) > 0.6 else INK  # noqa: PLR2004 - dark from here on
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    plain(axes)
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="Pearson's r")
    return figure


def _associations(found: Exploration) -> Any:
    shown = found.associations[:ASSOCIATIONS]
    figure = figure_of(8, 1 + 0.3 * len(shown))
    axes = figure.subplots()
    measures = sorted({each.measure for each in found.associations})
    for place, each in enumerate(shown):
        axes.barh(place, abs(each.value), color=PALETTE[measures.index(each.measure)])
        sign = " (falling)" if each.value < 0 else ""
        axes.text(abs(each.value) + 0.01, place, f"{abs(each.value):.2f}{sign}", va="center", fontsize=9, color=INK)
    for colour, measure in zip(PALETTE, measures, strict=False):
        axes.barh(0, 0, color=colour, label=measure)
    name_ticks(axes.yaxis, [each.column for each in shown])
    axes.set(xlim=(0, 1.15), ylim=(len(shown) - 0.4, -0.6))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    plain(axes)
    return figure


def _relations(found: Exploration) -> Any:
    all_axes = grid_of(len(found.relations), 2, 2.5)
    for axes, relation in zip(all_axes, found.relations, strict=False):
        _groups(axes, relation.groups, found.classes)
        name_below(axes, [group.label for group in relation.groups])
        plain(axes, relation.column)
    _legend(all_axes[0].figure, found.classes)
    return all_axes[0].figure


def _time(found: Exploration) -> Any:
    shown = found.over_time[-PARTITIONS:]
    figure = figure_of(8, 4)
    counts, target = figure.subplots(2, sharex=True)
    counts.bar(range(len(shown)), [group.rows for group in shown], width=0.9, color=PALETTE[0])
    short_numbers(counts.yaxis)
    plain(counts, "rows")
    if found.classes:
        _stack(target, shown, found.classes, width=0.9)
    else:
        places, low, middle, high = _quartiles(shown)
        target.fill_between(places, low, high, color=PALETTE[4], alpha=0.35, linewidth=0)
        target.plot(places, middle, color=PALETTE[0], linewidth=1.6, marker="o", markersize=2.5)
        short_numbers(target.yaxis)
    step = max(1, len(shown) // 12)
    labels = [drawable(group.label) for group in shown[::step]]
    target.xaxis.set_ticks(
        range(0, len(shown), step), labels, parse_math=False, rotation=40, ha="right", rotation_mode="anchor"
    )
    plain(target, found.target)
    _legend(figure, found.classes)
    return figure


def _groups(axes: Any, groups: Sequence[Group], classes: Sequence[str]) -> None:
    """The target in each group: the median in its quartiles, or the shares of the classes."""
    if classes:
        _stack(axes, groups, classes, width=0.85)
        return
    places, low, middle, high = _quartiles(groups)
    axes.vlines(places, low, high, color=PALETTE[4], linewidth=5, alpha=0.6)
    axes.plot(places, middle, color=PALETTE[0], linestyle="", marker="o", markersize=5)
    short_numbers(axes.yaxis)


def _quartiles(groups: Sequence[Group]) -> tuple[list[int], list[float], list[float], list[float]]:
    known = [(place, each.low, each.middle, each.high) for place, each in enumerate(groups)]
    whole = [each for each in known if each[1] is not None and each[2] is not None and each[3] is not None]
    return (
        [place for place, *_ in whole],
        [low or 0.0 for _, low, _, _ in whole],
        [middle or 0.0 for _, _, middle, _ in whole],
        [high or 0.0 for _, _, _, high in whole],
    )


def _stack(axes: Any, groups: Sequence[Group], classes: Sequence[str], width: float) -> None:
    base = [0.0] * len(groups)
    for index in range(len(classes)):
        shares = [group.shares[index] for group in groups]
        axes.bar(range(len(groups)), shares, bottom=base, width=width, color=PALETTE[index])
        base = [below + share for below, share in zip(base, shares, strict=True)]
    rest = [max(0.0, sum(group.shares) > 0 and 1 - below) for group, below in zip(groups, base, strict=True)]
    axes.bar(range(len(groups)), rest, bottom=base, width=width, color=OTHERS)
    axes.set_ylim(0, 1)


def _legend(figure: Any, classes: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    if classes:
        handles = [Patch(color=colour) for colour, _ in zip(PALETTE, classes, strict=False)]
        legend = figure.legend(handles, [""] * len(handles), loc="outside lower center", ncols=3, frameon=False)
        for text, name in zip(legend.get_texts(), classes, strict=True):
            text.set_parse_math(False)
            text.set_text(drawable(name))
