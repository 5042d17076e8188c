"""Names and texts inside a statement: for what cannot be a bound parameter."""

from __future__ import annotations


def quoted(name: str) -> str:
    """A column's name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal; DuckDB's parser takes a NUL for the statement's end."""
    return "'" + text.replace("'", "''").replace("\0", "' || chr(0) || '") + "'"
