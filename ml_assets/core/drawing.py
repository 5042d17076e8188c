"""How pictures look: small, light, the same on every machine.

Colours are Okabe and Ito's (2008), which people tell apart however they see colours. Nothing of matplotlib's global
state is touched.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
OTHERS = "#BBBBBB"
INK, FAINT, PAGE = "#202328", "#8a9099", "#ffffff"
DPI = 80
LABEL = 22  # characters of a name or value in a picture
NARROW = 9  # labels under an axis from which they stand on end


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


def figure_of(width: float, height: float) -> Any:
    """An empty picture; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAGE)


def as_png(figure: Any) -> bytes:
    """A picture as PNG, small enough to stand in the metadata of an asset."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # noqa: PLC0415

    # Not by savefig, which lays the picture out and draws it twice.
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    # 64 colours: a third of the size, and nothing that one sees.
    small = drawn.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, format="png", optimize=True)
    return out.getvalue()


def plain(axes: Any, title: str = "") -> None:
    """Axes without ornament."""
    axes.set_facecolor(PAGE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    if title:
        axes.set_title(drawable(title, 34), fontsize=10, color=INK, loc="left", parse_math=False)


def name_ticks(axis: Any, labels: Sequence[str], **style: Any) -> None:
    """Names along an axis, one for each place."""
    axis.set_ticks(range(len(labels)), [drawable(label) for label in labels], parse_math=False, **style)


def name_below(axes: Any, labels: Sequence[str]) -> None:
    """Names below the axes, on end where they are many or long."""
    if len(labels) >= NARROW or max(map(len, labels), default=0) > NARROW:
        name_ticks(axes.xaxis, labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        name_ticks(axes.xaxis, labels, fontsize=8)


def grid_of(count: int, across: int, height: float) -> list[Any]:
    """Axes for so many small pictures, those that are left over hidden."""
    across = min(across, count)
    down = -(-count // across)
    figure = figure_of(max(4.2 * across if across < 3 else 3.4 * across, 5), height * down + 0.3)  # noqa: PLR2004
    found = list(figure.subplots(down, across, squeeze=False).flat)
    for axes in found[count:]:
        axes.set_visible(False)
    return found


def short_numbers(axis: Any) -> None:
    """Large numbers on an axis as 10k, 2M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(EngFormatter(sep=""))
