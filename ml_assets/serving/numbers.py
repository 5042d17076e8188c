"""Numbers of versions and decisions in addresses and forms: of so many digits that nothing behind them can stumble."""

from __future__ import annotations

import re

DIGITS = 9
NUMBER = re.compile(rf"[0-9]{{1,{DIGITS}}}")


def number_in(text: str) -> int | None:
    """The number that a text is; None where it is none."""
    return int(text) if NUMBER.fullmatch(text) else None


def name_numbers() -> None:
    """Let routes say `{version:number}`: an address with a longer number is none, and answers 404."""
    from starlette.convertors import IntegerConvertor, register_url_convertor  # noqa: PLC0415

    class NumberConvertor(IntegerConvertor):
        regex = NUMBER.pattern

    register_url_convertor("number", NumberConvertor())
