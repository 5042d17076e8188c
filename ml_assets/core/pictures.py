"""The pictures of an exploration as PNG: small, light, and drawn from numbers that a table beside them can hold.

Colours are Okabe and Ito's (2008), which people tell apart however they see colours; the heatmap's scale differs in
lightness from its middle to either end. Nothing of matplotlib's global state is touched.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml_assets.core.columns import Column
    from ml_assets.core.exploration import Exploration, Group

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
OTHERS = "#BBBBBB"
INK, FAINT, PAGE = "#202328", "#8a9099", "#ffffff"
DPI = 80
LABEL = 22  # characters of a name or value in a picture
COLUMNS = 12
ASSOCIATIONS = 20
PARTITIONS = 400
NARROW = 9  # labels under an axis from which they stand on end


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
    return {name: _png(draw(found)) for name, draw in drawn.items() if draw}


def drawable(text: str, length: int = LABEL) -> str:
    """A name or value as a picture can show it: on one line, shortened, signs that the font lacks as `?`."""
    known = _signs()
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    shown = shown if len(shown) <= length else shown[: length - 1] + "…"
    return "".join(sign if ord(sign) in known else "?" for sign in shown)


@cache
def _signs() -> frozenset[int]:
    from matplotlib import font_manager

    # The font that comes with matplotlib: the same pictures on every machine.
    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAGE)


def _png(figure: Any) -> bytes:
    from PIL import Image  # noqa: PLC0415

    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    # 64 colours: a third of the size, and nothing that one sees.
    small = Image.open(out).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="png", optimize=True)
    return out.getvalue()


def _plain(axes: Any, title: str = "") -> None:
    axes.set_facecolor(PAGE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    if title:
        axes.set_title(drawable(title, 34), fontsize=10, color=INK, loc="left", parse_math=False)


def _names(axis: Any, labels: Sequence[str], **style: Any) -> None:
    axis.set_ticks(range(len(labels)), [drawable(label) for label in labels], parse_math=False, **style)


def _below(axes: Any, labels: Sequence[str]) -> None:
    if len(labels) >= NARROW or max(map(len, labels), default=0) > NARROW:
        _names(axes.xaxis, labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        _names(axes.xaxis, labels, fontsize=8)


def _target(found: Exploration) -> Any:
    column = next(each for each in found.columns if each.name == found.target)
    figure = _figure(8, 3)
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
    for axes, column in zip(figure_axes := _grid(len(shown), 3, 2.1), shown, strict=False):
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
        _below(axes, [share.label for share in column.shares])
    else:
        axes.barh(range(len(rows)), rows, color=PALETTE[0])
        _names(axes.yaxis, [share.label for share in column.shares], fontsize=8)
        axes.invert_yaxis()
    _count(axes.xaxis if column.kind != "number" else axes.yaxis)
    _plain(axes, column.name)


def _correlation(found: Exploration) -> Any:
    import numpy as np  # noqa: PLC0415

    size = len(found.numbers)
    width = max(4.5, 2.4 + 0.42 * size)
    figure = _figure(width, width * 0.86)
    axes = figure.subplots()
    values = np.array([[np.nan if value is None else value for value in row] for row in found.correlation])
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    _names(axes.yaxis, found.numbers)
    _names(axes.xaxis, found.numbers, rotation=40, ha="right", rotation_mode="anchor")
    if size <= NARROW + 3:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = PAGE if abs(value) > 0.6 else INK  # noqa: PLR2004 - dark from here on
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    _plain(axes)
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="Pearson's r")
    return figure


def _associations(found: Exploration) -> Any:
    shown = found.associations[:ASSOCIATIONS]
    figure = _figure(8, 1 + 0.3 * len(shown))
    axes = figure.subplots()
    measures = sorted({each.measure for each in found.associations})
    for place, each in enumerate(shown):
        axes.barh(place, abs(each.value), color=PALETTE[measures.index(each.measure)])
        sign = " (falling)" if each.value < 0 else ""
        axes.text(abs(each.value) + 0.01, place, f"{abs(each.value):.2f}{sign}", va="center", fontsize=9, color=INK)
    for colour, measure in zip(PALETTE, measures, strict=False):
        axes.barh(0, 0, color=colour, label=measure)
    _names(axes.yaxis, [each.column for each in shown])
    axes.set(xlim=(0, 1.15), ylim=(len(shown) - 0.4, -0.6))
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    _plain(axes)
    return figure


def _relations(found: Exploration) -> Any:
    all_axes = _grid(len(found.relations), 2, 2.5)
    for axes, relation in zip(all_axes, found.relations, strict=False):
        _groups(axes, relation.groups, found.classes)
        _below(axes, [group.label for group in relation.groups])
        _plain(axes, relation.column)
    _legend(all_axes[0].figure, found.classes)
    return all_axes[0].figure


def _time(found: Exploration) -> Any:
    shown = found.over_time[-PARTITIONS:]
    figure = _figure(8, 4)
    counts, target = figure.subplots(2, sharex=True)
    counts.bar(range(len(shown)), [group.rows for group in shown], width=0.9, color=PALETTE[0])
    _count(counts.yaxis)
    _plain(counts, "rows")
    if found.classes:
        _stack(target, shown, found.classes, width=0.9)
    else:
        places, low, middle, high = _quartiles(shown)
        target.fill_between(places, low, high, color=PALETTE[4], alpha=0.35, linewidth=0)
        target.plot(places, middle, color=PALETTE[0], linewidth=1.6, marker="o", markersize=2.5)
        _count(target.yaxis)
    step = max(1, len(shown) // 12)
    labels = [drawable(group.label) for group in shown[::step]]
    target.xaxis.set_ticks(
        range(0, len(shown), step), labels, parse_math=False, rotation=40, ha="right", rotation_mode="anchor"
    )
    _plain(target, found.target)
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
    _count(axes.yaxis)


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


def _grid(count: int, across: int, height: float) -> list[Any]:
    """Axes for so many small pictures, those that are left over hidden."""
    across = min(across, count)
    down = -(-count // across)
    figure = _figure(max(4.2 * across if across < 3 else 3.4 * across, 5), height * down + 0.3)  # noqa: PLR2004
    found = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in found[count:]:
        axes.set_visible(False)
    return found


def _count(axis: Any) -> None:
    """Large numbers on an axis as 10k, 2M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(EngFormatter(sep=""))
