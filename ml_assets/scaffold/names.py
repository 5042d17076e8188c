"""Names of columns as SQL and Python take them without quotes."""

from __future__ import annotations

import keyword
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LETTERS = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "o", "Ø": "O", "æ": "ae"}
_SIGNS = {"%": "percent", "#": "number", "€": "eur", "$": "usd", "£": "gbp", "°": "deg", "&": "and", "@": "at"}
# What a pandera model calls something else, and words that SQL reserves.
_TAKEN = frozenset(
    """all analyse analyze and any array as asc both case cast check collate column config constraint create default
    deferrable desc describe distinct do else empty end example except exists false fetch for foreign from get_metadata
    group having in initially intersect into lambda lateral leading limit not null offset on only or order pivot
    pivot_longer pivot_wider placing primary qualify references returning select show some strategy summarize
    symmetric table then to to_json_schema to_schema to_structs_schema to_yaml to_json trailing true union unique
    unpivot using str int float bool pa anti asof at authorization binary by collation columns
    concurrently cross freeze full generated glob ilike inner is isnull join left like map natural notnull outer overlaps
    positional right semi similar struct tablesample try_cast unpack verbose validate variadic when where window with pandas_api""".split()
)


def identifiers(names: Iterable[str]) -> list[str]:
    """Each name in lower-case letters, digits and underscores; no two alike, none a word of SQL or Python."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        plain = identifier(name) or f"column_{number}"
        counted, times = plain, 1
        while counted in found:
            times += 1
            counted = f"{plain}_{times}"
        found.append(counted)
    return found


def identifier(name: str) -> str:
    """A name in lower-case letters, digits and underscores; empty where it has none of them.

    `flatType` is `flat_type`, `Rate (%)` is `rate_percent`, `Größe` is `groesse`, `order` is `order_`.
    """
    text = "".join(_LETTERS.get(letter, letter) for letter in name)
    text = "".join(f" {_SIGNS[sign]} " if sign in _SIGNS else sign for sign in text)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()
    text = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
    if text[:1].isdigit():
        text = f"n_{text}"
    return f"{text}_" if text in _TAKEN or keyword.iskeyword(text) else text
