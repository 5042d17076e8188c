"""The pictures of an evaluation as PNG, drawn from what the registry keeps of it; each beside its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_assets.core.drawing import (
    FAINT,
    INK,
    OTHERS,
    PAGE,
    PALETTE,
    as_png,
    drawable,
    figure_of,
    name_ticks,
    plain,
    short_numbers,
)
from ml_assets.core.tasks import title_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Numbers = Mapping[str, Any]

CLASSES = 15
SLICES = 25
PICTURES = {
    "predictions": "Predicted against actual",
    "confusion": "Confusion matrix and calibration",
    "learning_curve": "Learning curve",
    "baselines": "The model and its baselines",
    "slices": "Slices",
}


def draw_evaluation(numbers: Numbers) -> dict[str, bytes]:
    """Every picture for which an evaluation holds numbers: name → PNG. An older one may hold none."""
    drawn = {
        "predictions": _predictions if "by_prediction" in numbers else None,
        "confusion": _confusion if "confusion" in numbers else None,
        "learning_curve": _learning_curve if len(numbers.get("learning_curve", ())) > 1 else None,
        "baselines": _baselines if numbers.get("baselines") else None,
        "slices": _slices if numbers.get("slices") else None,
    }
    return {name: as_png(draw(numbers)) for name, draw in drawn.items() if draw}


def _predictions(numbers: Numbers) -> Any:
    figure = figure_of(9, 3.4)
    left, right = figure.subplots(1, 2)
    bins, errors = numbers["by_prediction"], numbers["residuals"]
    predicted = [each["predicted"] for each in bins]
    left.vlines(predicted, [each["low"] for each in bins], [each["high"] for each in bins], color=PALETTE[4], lw=5)
    left.plot(predicted, [each["actual"] for each in bins], "o", color=PALETTE[0])
    _diagonal(left, min(predicted), max(predicted))
    left.set(xlabel="predicted, mean of each tenth", ylabel="actual: mean and quartiles")
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        short_numbers(axis)
    edges, rows = errors["edges"], errors["rows"]
    width = edges[1] - edges[0]
    right.bar(edges[:-1], rows, width=width, align="edge", color=PALETTE[0], edgecolor=PAGE, linewidth=0.4)
    right.axvline(0, color=INK, linewidth=1)
    right.axvline(errors["mean"], color=PALETTE[5], linewidth=1.4)
    right.set(xlabel="predicted minus actual; their mean in red", ylabel="rows")
    plain(left, "Predicted against actual")
    plain(right, "Residuals")
    return figure


def _confusion(numbers: Numbers) -> Any:
    import numpy as np  # noqa: PLC0415

    found = numbers["confusion"]
    figure = figure_of(9, 3.8)
    left, right = figure.subplots(1, 2)
    rows = np.array(found["rows"], dtype=float)
    # The most frequent classes; the others are in the table.
    shown = np.sort(np.argsort(-rows.sum(axis=1), kind="stable")[:CLASSES])
    rows = rows[np.ix_(shown, shown)]
    shares = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(shown) <= CLASSES // 2:
        for (row, column), count in np.ndenumerate(rows):
            colour = PAGE if shares[row, column] > 0.6 else INK  # noqa: PLR2004 - dark from here on
            left.text(column, row, f"{count:,.0f}", ha="center", va="center", fontsize=9, color=colour)
    names = [found["classes"][place] for place in shown]
    name_ticks(left.yaxis, names, fontsize=8)
    name_ticks(left.xaxis, names, fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
    left.set(xlabel="predicted", ylabel="actual")
    bins = numbers["calibration"]
    said = [each["predicted"] for each in bins]
    right.vlines(said, [each["low"] for each in bins], [each["high"] for each in bins], color=PALETTE[4], lw=4)
    right.plot(said, [each["actual"] for each in bins], "o-", color=PALETTE[0], linewidth=1)
    _diagonal(right, 0, 1)
    right.set(xlabel="probability that was said", ylabel="share that then was", xlim=(0, 1), ylim=(0, 1))
    plain(left, "Confusion matrix")
    left.spines[:].set_visible(False)
    plain(right, "Calibration")
    return figure


def _learning_curve(numbers: Numbers) -> Any:
    figure = figure_of(7, 3.2)
    axes = figure.subplots()
    steps = numbers["learning_curve"]
    kinds = (("train", "rows it learnt from"), ("left_out", "other training rows"), ("test", "rows held out"))
    for colour, (kind, label) in zip(PALETTE, kinds, strict=False):
        there = [step for step in steps if step[kind] is not None]
        axes.errorbar(
            [step["rows"] for step in there], [step[kind]["value"] for step in there],
            [2 * step[kind]["error"] for step in there], color=colour, marker="o", markersize=4, capsize=3, label=label,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="rows learnt from", ylabel=_loss_title(numbers))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_ticks([step["rows"] for step in steps], [f"{step['rows']:,}" for step in steps])
    axes.xaxis.set_ticks([], minor=True)
    axes.legend(frameon=False, fontsize=9)
    plain(axes, "Learning curve")
    return figure


def _baselines(numbers: Numbers) -> Any:
    metric = numbers["watched"]
    climbed = [each for each in numbers["baselines"] if "metrics" in each]
    shown = [("This version", numbers["metrics"]["test"][metric], numbers["intervals"].get(metric))]
    shown += [(each["title"], each["metrics"][metric], None) for each in climbed]
    return _bars(shown, title_of(metric), "The model and its baselines, less is better")


def _slices(numbers: Numbers) -> Any:
    metric = numbers["watched"]
    there = [each for each in numbers["slices"] if metric in each["metrics"]][:SLICES]
    shown = [("all rows", numbers["metrics"]["test"][metric], numbers["intervals"].get(metric))]
    shown += [
        (f"{each['title']} ({each['rows']:,})", each["metrics"][metric], each["intervals"].get(metric))
        for each in there
    ]
    worse = {place for place, each in enumerate(there, 1) if "p_value" in each}
    return _bars(shown, title_of(metric), "Slices, less is better; worse than the rest in red", worse)


def _bars(
    shown: Sequence[tuple[str, float, Sequence[float] | None]], label: str, title: str, worse: set[int] | None = None
) -> Any:
    figure = figure_of(8, 1 + 0.3 * len(shown))
    axes = figure.subplots()
    for place, (_, value, ends) in enumerate(shown):
        colour = PALETTE[0] if not place else PALETTE[5] if place in (worse or set()) else OTHERS
        axes.barh(place, value, color=colour)
        if ends is not None:
            axes.hlines(place, ends[0], ends[1], color=INK, linewidth=1.5)
        end = max(value, ends[1]) if ends is not None else value
        axes.annotate(
            f"{value:.4g}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9, color=INK
        )
    axes.yaxis.set_ticks(range(len(shown)), [drawable(name, 44) for name, *_ in shown], parse_math=False)
    axes.margins(x=0.15)
    axes.set(xlabel=label, ylim=(len(shown) - 0.4, -0.6))
    plain(axes)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    return figure


def _diagonal(axes: Any, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle="--")


def _loss_title(numbers: Numbers) -> str:
    return title_of("mse" if numbers["watched"] == "rmse" else numbers["watched"])
