"""Which rows a window's function reads beside the current one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sqlglot import exp

OtherRows = Literal["earlier", "later"]
"""Rows that a window reads without the current one: those before it in the window's order, or those after."""


def function_of(value: exp.Expr) -> exp.Expr:
    """The function of a window, without IGNORE NULLS and FILTER around it."""
    while value.key in {"ignorenulls", "respectnulls", "filter"}:
        value = value.this
    return value


def other_rows(value: exp.Expr, frame: exp.Expr | None) -> OtherRows | None:
    """Whether a window's function reads rows on one side of the current one only; None where it may read it too."""
    function = function_of(value)
    if function.key in {"lag", "lead"}:  # of no frame
        offset = function.args.get("offset")
        if offset is not None and not _is_positive(offset):
            return None
        return "earlier" if function.key == "lag" else "later"
    if frame is None:
        return None
    before, after = frame.args.get("end"), frame.args.get("start")
    if str(frame.args.get("end_side") or "").lower() == "preceding" and _is_positive(before):
        return "earlier"
    if str(frame.args.get("start_side") or "").lower() == "following" and _is_positive(after):
        return "later"
    return None


def _is_positive(bound: exp.Expr | str | None) -> bool:
    """Whether an offset is written as a number, or an interval, above zero."""
    if bound is None or isinstance(bound, str):
        return False
    literal = bound.this if bound.key == "interval" else bound
    return literal is not None and literal.key == "literal" and re.fullmatch(r"0*[1-9]\d*", literal.name) is not None
