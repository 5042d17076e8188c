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
_TAKEN = frozenset({
    "all", "analyse", "analyze", "and", "anti", "any", "array", "as", "asc", "asof", "at", "authorization",
    "binary", "bool", "both", "by", "case", "cast", "check", "collate", "collation", "column", "columns",
    "concurrently", "config", "constraint", "create", "cross", "default", "deferrable", "desc", "describe",
    "distinct", "do", "else", "empty", "end", "example", "except", "exists", "false", "fetch", "float", "for",
    "foreign", "freeze", "from", "full", "generated", "get_metadata", "glob", "group", "having", "ilike", "in",
    "initially", "inner", "int", "intersect", "into", "is", "isnull", "join", "lambda", "lateral", "leading",
    "left", "like", "limit", "map", "natural", "not", "notnull", "null", "offset", "on", "only", "or", "order",
    "outer", "overlaps", "pa", "pandas_api", "pivot", "pivot_longer", "pivot_wider", "placing", "positional",
    "primary", "qualify", "references", "returning", "right", "select", "semi", "show", "similar", "some", "str",
    "strategy", "struct", "summarize", "symmetric", "table", "tablesample", "then", "to", "to_json",
    "to_json_schema", "to_schema", "to_structs_schema", "to_yaml", "trailing", "true", "try_cast", "union",
    "unique", "unpack", "unpivot", "using", "validate", "variadic", "verbose", "when", "where", "window", "with",
})  # fmt: skip


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
