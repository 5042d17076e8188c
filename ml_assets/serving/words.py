"""Numbers and moments as people read them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ml_assets.core.showing import visible
from ml_assets.core.tasks import BY_NAME

# Characters of a value that a table shows.
CELL = 200
EN_DASH = "\N{EN DASH}"


def metric(value: float | None, name: str) -> str:
    """A metric: shares as a percentage, others as a figure."""
    if value is None:
        return EN_DASH
    return f"{value:.1%}" if name in BY_NAME and BY_NAME[name].is_share else figure(value)


def fine(value: float | None, name: str) -> str:
    """A metric to one digit more, for comparing: shares as a percentage with two."""
    return f"{value:.2%}" if value is not None and name in BY_NAME and BY_NAME[name].is_share else figure(value)


def figure(value: float | None) -> str:
    """A number: four significant digits, thousands apart."""
    if value is None:
        return EN_DASH
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004 - from here on all four digits are whole
        return f"{value:,.0f}"
    return f"{value:.4g}"


def capitalized(text: str) -> str:
    """A sentence with its first letter as a capital, all others as they are: markup stays markup."""
    return text[:1].upper() + text[1:]


def number(value: object) -> str:
    """A value of the data: a number as a figure, any other as it is: a text of digits is a text."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return figure(float(value)) if is_number else cell(value)  # type: ignore[arg-type]


def cell(value: object) -> str:
    """A value of the data just as it is, as it may be seen; `(missing)` where it is None."""
    return visible(None if value is None else str(value), CELL)


def counted(number: int, word: str) -> str:
    """`1 column`, `2 columns`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def moment(text: str) -> str:
    """An ISO moment in UTC, to the minute."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
