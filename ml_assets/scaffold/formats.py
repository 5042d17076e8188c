"""How the text of a column is to be read: as what type, after which cleaning, and why. Pure: values in, a guess out."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from ml_assets.core.quoting import literal
from ml_assets.core.validation import MOMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Type = Literal["str", "int", "float", "bool", "date", "datetime"]
# Share of a column's values that must read for it to be more than text; the others go to the quarantine.
READS = 0.95
# Words for a value that is missing; in a column of text only the first line is no word of its own.
NULLS_OF_TEXT = frozenset(
    ["na", "n/a", "#n/a", "nan", "null", "?", "(null)", "<na>", "\\n", "--", "n.a.", "k.a.", "k. a.", "keine angabe"]
)
NULLS = NULLS_OF_TEXT | {"none", "-", "—", ".", "..", "nil", "unknown", "missing", "not available", "no data", "-nan"}
NULLS |= {"#value!", "#ref!", "#div/0!", "unbekannt", "inconnu", "desconocido", "onbekend", "n.d.", "n/d"}
BOOLEANS = {
    "true": True, "t": True, "yes": True, "y": True, "on": True, "ja": True, "oui": True, "si": True, "sí": True,
    "wahr": True, "vrai": True, "false": False, "f": False, "no": False, "n": False, "off": False, "nein": False,
    "non": False, "falsch": False, "faux": False,
}  # fmt: skip
# Those that the schema reads by itself.
PLAIN_BOOLEANS = frozenset({"true", "t", "yes", "y", "false", "f", "no", "n"})
CURRENCIES = (
    "$", "€", "£", "¥", "₹", "US$", "S$", "A$", "C$", "R$", "HK$", "NZ$", "Rs.", "Rs", "kr", "kr.", "USD", "EUR", "GBP",
    "CHF", "SGD", "SEK", "NOK", "DKK", "PLN", "JPY", "CNY", "INR", "AUD", "CAD",
)  # fmt: skip
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_ADORNED = re.compile(
    r"(?P<open>\()?(?P<sign>[+-]?) ?(?P<before>[^\d\s.,+()%-]{0,3}\.?) ?(?P<open2>\()?(?P<sign2>[+-]?)"
    r"(?P<body>\d[\d.,'\u2019\u00a0\u202f ]*|[.,]\d+|-)(?P<power>[eE][+-]?\d{1,3})? ?"
    r"(?P<after>[^\W\d_][^\d,()]{0,11}|[^\w\s.,()#*+/:;-][^\d,()]{0,11})?(?P<close>\))?"
)
_CLOCK = (
    r"(?P<clock>\d{1,2}(?P<colon>[:.])\d{2}((?P=colon)(?P<second>\d{2})(?P<fraction>\.\d{1,6})?)?"
    r"(?P<half> ?[AaPp]\.?[Mm]\.?)?)"
)
_TIME = rf"(?:(?P<gap>,? +|T){_CLOCK})?"
_NUMERIC_DATE = re.compile(rf"(?P<a>\d{{1,2}})(?P<sep>[/.-])(?P<b>\d{{1,2}})(?P=sep)(?P<year>\d{{4}}|\d{{2}}){_TIME}")
_YEAR_FIRST = re.compile(rf"(?P<year>\d{{4}})(?P<sep>[/.-])(?P<b>\d{{1,2}})(?P=sep)(?P<a>\d{{1,2}}){_TIME}")
_NAMED_DATE = re.compile(
    r"(?:(?P<week>[A-Za-z]{3,9}),? )?(?P<a>\d{1,2})(?P<sep>[ -]?)(?P<name>[A-Za-z]{3,9})(?P<sep2>,? |-|)"
    rf"(?P<year>\d{{4}}|\d{{2}}){_TIME}"
)
_NAME_FIRST = re.compile(rf"(?P<name>[A-Za-z]{{3,9}})(?P<sep> )(?P<a>\d{{1,2}})(?P<sep2>,? )(?P<year>\d{{4}}){_TIME}")
_COMPACT = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_MONTH = re.compile(r"(?:\d{4}-(?:0[1-9]|1[0-2]))")
_NAMED_MONTH = re.compile(r"(?P<name>[A-Za-z]{3,9})(?P<sep>[ -])(?P<year>\d{4}|\d{2})")
_CLOCK_ALONE = re.compile(_CLOCK)
_MOMENT = re.compile(MOMENT.replace("(?<", "(?P<"))
# Seconds since 1970 of the years 2000 to 2036.
_EPOCH = range(946_684_800, 2_082_758_400)
_FEW = 2
# A number that means a missing value comes again, and nines do where all others are this much less.
FEWEST_CODES, NINES_BEYOND = 3, 20
# Different numbers with a point, from which on three digits after each are no chance.
ENOUGH_POINTED = 20


@dataclass(frozen=True)
class Format:
    """How the values of a column read.

    Attributes:
        type: of the column in the schema.
        sql: expression with `{}` for the column's text, after blanks and nulls are dealt with; it yields text that the
            schema casts, and leaves what does not read as it is, for the quarantine.
        reason: why, in a sentence; empty for text and plain numbers.
        question: what it is unsure of.
        nulls: texts that stand for a missing value.
        why_nulls: which they are, and why they do.
        clock: whether it is a time of day without a date.
        other: other reading of an ambiguous date: SQL as above, or empty.
        decimal: the decimal sign.
    """

    type: Type = "str"
    sql: str = "{}"
    reason: str = ""
    question: str = ""
    nulls: tuple[str, ...] = ()
    why_nulls: str = ""
    clock: bool = False
    other: str = ""
    decimal: str = "."


@dataclass(frozen=True)
class _Read:
    """A way of reading some of the values: those that do not are odd."""

    format: Format
    odd: Counter[str]


def guess_format(name: str, values: Mapping[str, int], decimal: str = "") -> Format:
    """Guess how the values of a column read.

    Args:
        name: of the column; only a number that may be a moment is judged by it.
        values: text without blanks around it → how often it is there; not the empty one.
        decimal: the decimal sign of the other columns, as `decimal_sign` tells it; empty where they do not.
    """
    counted = Counter(dict(values))
    coded = {text for text in counted if text.lower() in NULLS}
    rest = Counter({text: times for text, times in counted.items() if text not in coded})
    if not rest:
        return Format(nulls=tuple(sorted(coded)))
    total = rest.total()
    ways = (_booleans, _iso, _dates, partial(_epochs, name), _clocks, partial(_numbers, decimal=decimal))
    for way in ways:
        found = way(rest)
        if found is not None and found.odd.total() <= (1 - READS) * total:
            return _with_nulls(found, coded, rest)
    coded = {text for text in coded if text.lower() in NULLS_OF_TEXT}
    if sum(len(text) == _FEW for text in rest) > len(rest) / 2:
        # NA is a country, a continent and a state of mind among other codes of two letters.
        coded -= {text for text in coded if len(text) == _FEW}
    return Format(nulls=tuple(sorted(coded)), why_nulls=_missing(coded))


def _with_nulls(found: _Read, coded: set[str], rest: Counter[str]) -> Format:
    form = found.format
    why = _missing(coded)
    question = form.question
    nulls = set(coded)
    if form.type in {"int", "float"}:
        code, reason, ask = coded_null({text: rest[text] for text in rest if text not in found.odd}, form)
        nulls |= set(code)
        why = "; ".join(filter(None, [why, reason]))
        question = question or ask
    return replace(form, question=question, nulls=tuple(sorted(nulls)), why_nulls=why)


def _missing(coded: set[str]) -> str:
    return f"{listed(coded)} {'means' if len(coded) == 1 else 'mean'} a missing value" if coded else ""


def decimal_sign(columns: Iterable[tuple[Format, Mapping[str, int]]]) -> str:
    """The decimal sign of a file, told by the columns that leave no doubt; empty where none does, or two contradict.

    Args:
        columns: how each is read, and its values.
    """
    signs = set()
    for form, values in columns:
        if form.decimal == "," and not form.question:
            signs.add(",")
        elif form.type == "float" and any("." in text and not _like_thousands(text, ".") for text in values):
            signs.add(".")
    return signs.pop() if len(signs) == 1 else ""


def may_be_thousands(form: Format, values: Mapping[str, int]) -> bool:
    """Whether the sign in a column's numbers may as well be the decimal one as one between thousands."""
    if form.type not in {"int", "float"}:
        return False
    signed = [text for text in values if "." in text or "," in text]
    return any(signed and all(_like_thousands(text, sign) for text in signed) for sign in ".,")


def _like_thousands(text: str, sign: str) -> bool:
    """Whether a number has one sign or more, and groups of three digits after each."""
    return bool(re.search(rf"(?<![\d.,])[1-9]\d{{0,2}}(\{sign}\d{{3}})+(?![\d.,])", text))


def coded_null(values: Mapping[str, int], form: Format) -> tuple[list[str], str, str]:
    """A number that stands for a missing value: repeated, and far from all others.

    Returns:
        Its spellings, why, and a question where it is unsure; nothing where there is none.
    """
    spelt: dict[float, list[str]] = {}
    times: Counter[float] = Counter()
    for text, count in values.items():
        number = as_number(text, form)
        if number is not None:
            spelt.setdefault(number, []).append(text)
            times[number] += count
    ordered = sorted(times)
    if len(times) < 4:  # noqa: PLR2004 - too few to tell what is far, but for nines beyond a few small numbers
        last = ordered[-1] if ordered else 0
        nines = re.fullmatch(r"9{2,}", f"{last:.10g}") and len(ordered) > _FEW and ordered[0] >= 0
        if not nines or times[last] < FEWEST_CODES or last < NINES_BEYOND * max(1, ordered[-2]):
            return [], "", ""
        why = f"{listed(spelt[last])} means a missing value: all others are {ordered[0]:g} or {ordered[1]:g}"
        return spelt[last], why, f"Does {last:g} mean a missing value? It is taken for one"
    for value, rest in ((ordered[0], ordered[1:]), (ordered[-1], ordered[:-1])):
        spread = rest[-1] - rest[0]
        gap = min(abs(value - rest[0]), abs(value - rest[-1]))
        known = bool(re.fullmatch(r"-?9{2,}(\.0*|\.9+)?|-1(\.0*)?|-[12]00(\.0*)?", f"{value:.10g}"))
        alone_below = value < 0 <= rest[0]
        often = times[value] >= max(FEWEST_CODES, 0.0002 * times.total())
        if not often or not spread:
            continue
        if known and (gap > spread / 2 or alone_below) and value != -1:
            why = f"{listed(spelt[value])} means a missing value: it is repeated, and far from all others"
            return spelt[value], why, ""
        if (known and alone_below and len(rest) > 10) or (gap > spread and len(rest) >= 10):  # noqa: PLR2004
            others = f"all others lie between {rest[0]:g} and {rest[-1]:g}"
            text = f"{listed(spelt[value])} is there {times[value]:,} times, and {others}"
            return spelt[value], text, f"Does {value:g} mean a missing value? It is taken for one"
    return [], "", ""


def as_number(text: str, form: Format) -> float | None:
    """What a text is as a number, read as the form says; None where it is none."""
    match = _ADORNED.fullmatch(text)
    if not match:
        return float(text) if _NUMBER.fullmatch(text) else None
    body = re.sub(rf"[^\d{re.escape(form.decimal)}]", "", match["body"]).replace(",", ".")
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", body):
        return None
    negative = "-" in match["sign"] + match["sign2"] or match["close"]
    return (-1 if negative else 1) * float(body + (match["power"] or ""))


def _read(form: Format, rest: Counter[str], reads: set[str]) -> _Read:
    return _Read(form, Counter({text: times for text, times in rest.items() if text not in reads}))


def _booleans(rest: Counter[str]) -> _Read | None:
    words = {text.lower() for text in rest}
    known = words & BOOLEANS.keys()
    if {BOOLEANS[word] for word in known} != {True, False}:
        return None
    reads = {text for text in rest if text.lower() in known}
    if known <= PLAIN_BOOLEANS:
        return _read(Format("bool", reason=f"{listed(reads)} are yes or no."), rest, reads)
    cases = " ".join(f"WHEN {literal(word)} THEN '{str(BOOLEANS[word]).lower()}'" for word in sorted(known))
    form = Format("bool", f"CASE lower({{0}}) {cases} ELSE {{0}} END", f"{listed(reads)} are words for yes and no.")
    return _read(form, rest, reads)


def _iso(rest: Counter[str]) -> _Read | None:
    matches = {text: match for text in rest if (match := _MOMENT.fullmatch(text))}
    months = {text for text in rest if _MONTH.fullmatch(text)}
    if len(months) > len(matches):
        form = Format("date", "{} || '-01'", "Months as 2024-05: the first day stands for them.")
        return _read(form, rest, months)
    if not matches:
        return None
    timed = any(match["clock"] for match in matches.values())
    return _read(Format("datetime" if timed else "date"), rest, set(matches))


@dataclass(frozen=True)
class _Shape:
    """A text that may be a date.

    Attributes:
        format: strptime codes, with `%1` and `%2` for a first and second number of which one is day, one is month.
        first, second: those numbers.
        timed: whether a time of day stands with it.
    """

    format: str
    first: int = 0
    second: int = 0
    timed: bool = False


def _dates(rest: Counter[str]) -> _Read | None:
    shapes = {text: shape for text in rest if (shape := _shape(text))}
    if not shapes or sum(rest[text] for text in shapes) < READS * rest.total():
        return None
    formats = Counter({shape.format: 0 for shape in shapes.values()})
    for text, shape in shapes.items():
        formats[shape.format] += rest[text]
    numeric = [shape for shape in shapes.values() if "%1" in shape.format]
    day_first = any(shape.first > 12 for shape in numeric)  # noqa: PLR2004 - months
    month_first = any(shape.second > 12 for shape in numeric)  # noqa: PLR2004
    if len({shape.first for shape in numeric}) > _FEW and {shape.second for shape in numeric} == {1}:
        month_first = True  # the first of each month
    if len({shape.second for shape in numeric}) > _FEW and {shape.first for shape in numeric} == {1}:
        day_first = True
    ambiguous = bool(numeric) and not day_first and not month_first
    dotted = any("." in shape.format for shape in numeric)
    if day_first and month_first:
        # The lesser part is mistaken; the quarantine shows it.
        day_first = sum(shape.first > 12 for shape in numeric) >= sum(shape.second > 12 for shape in numeric)  # noqa: PLR2004
    codes = ("%d", "%m") if day_first or (ambiguous and dotted) else ("%m", "%d")
    timed = any(shape.timed for shape in shapes.values())
    chosen = [form for form, _ in formats.most_common(4)]
    reads = {
        text
        for text, shape in shapes.items()
        if shape.format in chosen
        and ("%1" not in shape.format or (shape.second if codes[0] == "%d" else shape.first) <= 12)  # noqa: PLR2004
    }
    sql = date_sql([_ordered(form, codes) for form in chosen], timed=timed)
    other = date_sql([_ordered(form, codes[::-1]) for form in chosen], timed=timed) if ambiguous and not dotted else ""
    example = next(iter(shapes))
    reason = f"Dates as {example}"
    if numeric:
        reason += ", day first" if codes[0] == "%d" else ", month first"
    question = ""
    if other:
        spoken = next(text for text, shape in shapes.items() if "%1" in shape.format)
        question = f"Is {spoken} written with the {'day' if codes[0] == '%d' else 'month'} first? No value tells"
    return _read(Format("datetime" if timed else "date", sql, reason + ".", question, other=other), rest, reads)


def _ordered(form: str, codes: tuple[str, str]) -> str:
    return form.replace("%1", codes[0]).replace("%2", codes[1])


def date_sql(formats: Sequence[str], *, timed: bool) -> str:
    """SQL that writes a date as ISO 8601, and leaves what does not read as it is."""
    listed = literal(formats[0]) if len(formats) == 1 else "[" + ", ".join(map(literal, formats)) + "]"
    written = "%Y-%m-%dT%H:%M:%S" if timed else "%Y-%m-%d"
    return f"coalesce(strftime(try_strptime({{0}}, {listed}), '{written}'), {{0}})"


def _shape(text: str) -> _Shape | None:
    if _COMPACT.fullmatch(text):
        return _Shape("%Y%m%d")
    if match := _NUMERIC_DATE.fullmatch(text):
        first, second, sep = int(match["a"]), int(match["b"]), match["sep"]
        if not (1 <= first <= 31 and 1 <= second <= 31 and min(first, second) <= 12):  # noqa: PLR2004
            return None
        form = f"%1{sep}%2{sep}{_year(match['year'])}"
        return _Shape(form + _clock(match), first, second, bool(match["clock"]))
    if match := _YEAR_FIRST.fullmatch(text):
        sep = match["sep"]
        return _Shape(f"%Y{sep}%m{sep}%d{_clock(match)}", timed=bool(match["clock"]))
    return _named_shape(text)


def _named_shape(text: str) -> _Shape | None:
    match = _NAMED_DATE.fullmatch(text) or _NAME_FIRST.fullmatch(text)
    if match and match["name"].lower()[:3] in MONTHS:
        month = "%b" if len(match["name"]) == 3 else "%B"  # noqa: PLR2004
        if "week" in match.groupdict():
            week = "" if not match["week"] else text[: text.index(match["a"])].replace(match["week"], "%a")
            form = f"{week}%d{match['sep']}{month}{match['sep2']}{_year(match['year'])}"
        else:
            form = f"{month} %d{match['sep2']}%Y"
        return _Shape(form + _clock(match), timed=bool(match["clock"]))
    match = _NAMED_MONTH.fullmatch(text)
    if match and match["name"].lower()[:3] in MONTHS:
        month = "%b" if len(match["name"]) == 3 else "%B"  # noqa: PLR2004
        return _Shape(f"{month}{match['sep']}{_year(match['year'])}")
    return None


def _year(text: str) -> str:
    return "%Y" if len(text) == 4 else "%y"  # noqa: PLR2004


def _clock(match: re.Match[str]) -> str:
    if not match["clock"]:
        return ""
    colon = match["colon"]
    form = f"{match['gap']}{'%I' if match['half'] else '%H'}{colon}%M"
    form += f"{colon}%S" if match["second"] else ""
    form += ".%f" if match["fraction"] else ""
    return form + (" %p" if match["half"] and match["half"][0] == " " else "%p" if match["half"] else "")


def _epochs(name: str, rest: Counter[str]) -> _Read | None:
    if not re.search(r"time|date|stamp|epoch|unix|_at$|_ts$|^ts", name.lower()):
        return None
    for unit, scale in (("seconds", 1), ("milliseconds", 1000)):
        numbers = {text: int(text) // scale for text in rest if re.fullmatch(r"\d{9,13}", text)}
        reads = {text for text, number in numbers.items() if number in _EPOCH}
        if sum(rest[text] for text in reads) >= READS * rest.total():
            factor = 1_000_000 // scale
            moment = f"strftime(make_timestamp(TRY_CAST({{0}} AS BIGINT) * {factor}), '%Y-%m-%dT%H:%M:%S')"
            return _read(Format("datetime", f"coalesce({moment}, {{0}})", f"{unit.title()} since 1970."), rest, reads)
    return None


def _numbers(rest: Counter[str], decimal: str) -> _Read | None:
    """Plain numbers; adorned ones where fewer values are odd so, or where the points stand between thousands."""
    plain, adorned = _plain_numbers(rest), _adorned_numbers(rest, decimal)
    if plain is None:
        return adorned
    if adorned is not None and (adorned.odd.total() < plain.odd.total() or adorned.format.decimal == ","):
        return adorned
    pointed = [text for text in rest if "." in text]
    if decimal or len(pointed) <= ENOUGH_POINTED or not may_be_thousands(plain.format, rest):
        return plain
    question = f"Is {pointed[0]} more than a thousand? Three digits follow each point; it is taken for the decimal one"
    return replace(plain, format=replace(plain.format, question=question))


def _plain_numbers(rest: Counter[str]) -> _Read | None:
    whole = {text for text in rest if _WHOLE.fullmatch(text)}
    numbers = {text for text in rest if _NUMBER.fullmatch(text)}
    leading = {text for text in rest if re.fullmatch(r"0\d+", text)}
    # A number with a zero before it is a code, such as a postal one.
    if leading and sum(rest[text] for text in leading) > 0.01 * rest.total():
        return None
    if len(whole) == len(numbers - leading):
        return _read(Format("int"), rest, whole)
    return _read(Format("float"), rest, numbers)


def _clocks(rest: Counter[str]) -> _Read | None:
    matches = {text: match for text in rest if (match := _CLOCK_ALONE.fullmatch(text)) and _is_clock(match)}
    if not matches:
        return None
    dotted = any(match["colon"] == "." for match in matches.values())
    if dotted and any(not match["second"] for match in matches.values()):
        return None  # 18.00 is a number
    form = next(iter(matches.values()))
    code = ("%I" if form["half"] else "%H") + form["colon"] + "%M" + (form["colon"] + "%S" if form["second"] else "")
    code += " %p" if form["half"] and form["half"][0] == " " else "%p" if form["half"] else ""
    sql = f"coalesce(strftime(try_strptime({{0}}, {literal(code)}), '%H:%M:%S'), {{0}})"
    return _read(Format("str", sql, "A time of day.", clock=True), rest, set(matches))


def _is_clock(match: re.Match[str]) -> bool:
    hour, minute = (
        (int(part) for part in re.split(r"[:.]", match["clock"])[:2] if part.isdigit()) if not match["half"] else (1, 0)
    )
    return 0 <= hour < 24 and 0 <= minute < 60  # noqa: PLR2004


def _adorned_numbers(rest: Counter[str], decimal: str) -> _Read | None:  # noqa: C901 - one step for each adornment
    """Numbers with separators, a currency, a percent sign or a unit."""
    matches = _alike({text: match for text in rest if (match := _ADORNED.fullmatch(text))}, rest)
    if sum(rest[text] for text in matches) < READS * rest.total():
        return None
    signs = {_sign(match, side) for match in matches.values() for side in ("before", "after")} - {""}
    sql, reasons, question = "{}", [], ""
    for sign in sorted(signs):
        sql = f"replace({sql}, {literal(sign)}, '')"
        what = "the currency" if _is_currency(sign) else "the percent sign" if sign == "%" else "the unit"
        reasons.append(f"{what} {sign} is taken off")
    separators = _separators([match["body"].strip() for match in matches.values()], decimal)
    if separators is None:
        return None
    thousands, point, sure = separators
    for sign in thousands:
        sql = f"replace({sql}, {literal(sign)}, '')"
    if thousands:
        reasons.append(f"thousands are parted by {_spoken(thousands)}")
    if point == ",":
        sql = f"replace({sql}, ',', '.')"
        if any("," in match["body"] for match in matches.values()):
            reasons.append("the decimal sign is a comma")
    if not sure:
        example = next(match["body"].strip() for match in matches.values() if re.search(r"[.,]", match["body"]))
        question = f"Is {example} more than a thousand? No value tells; its sign is taken for one between thousands"
    if any(match["close"] for match in matches.values()):
        sql = f"regexp_replace(replace({sql}, ' ', ''), '^\\((.*)\\)$', '-\\1')"
        reasons.append("a negative number stands in brackets")
    if any(match["body"] == "-" for match in matches.values()):
        sql = f"regexp_replace(trim({sql}), '^-$', '0')"
        reasons.append("a dash after the currency is zero")
    if not reasons:
        return None
    reason = "; ".join(reasons)
    whole = all(_is_whole(match["body"], point) for match in matches.values())
    form = Format("int" if whole else "float", sql, reason[0].upper() + reason[1:] + ".", question, decimal=point)
    return _read(form, rest, set(matches))


def _alike(matches: Mapping[str, re.Match[str]], rest: Counter[str]) -> dict[str, re.Match[str]]:
    """The numbers that mean the same quantity, as far as their adornments tell; the others are odd.

    SO-10000 and R00001 are names. Another currency, or a unit that only some have, is another quantity.
    """
    found = {
        text: match
        for text, match in matches.items()
        if not re.match(r"0\d", match["body"]) and _is_currency(_sign(match, "before"))
    }
    for side in ("before", "after"):
        times: Counter[str] = Counter()
        for text, match in found.items():
            times[_sign(match, side)] += rest[text]
        plain = times.pop("", 0)
        sign, often = max(times.items(), key=lambda one: one[1], default=("", 0))
        taken = {"", sign} if _is_currency(sign) or often >= plain else {""}
        found = {text: match for text, match in found.items() if _sign(match, side) in taken}
    return found


def _sign(match: re.Match[str], side: str) -> str:
    return (match[side] or "").strip()


def _is_currency(sign: str) -> bool:
    return not sign or sign in CURRENCIES or unicodedata.category(sign[-1]) == "Sc"


def _is_whole(body: str, decimal: str) -> bool:
    return body == "-" or decimal not in body


def _spoken(signs: Sequence[str]) -> str:
    names = {",": "commas", ".": "points", "'": "apostrophes", "\u2019": "apostrophes", " ": "blanks"}
    return " or ".join(dict.fromkeys(names.get(sign, "blanks") for sign in signs))


def _separators(bodies: Sequence[str], known: str) -> tuple[list[str], str, bool] | None:  # noqa: PLR0911 - a table of cases
    """The signs between thousands, the decimal sign, and whether that is sure; None where they contradict.

    Args:
        bodies: the numbers without signs and units.
        known: the decimal sign of other columns; empty where they do not tell.
    """
    commas = [body for body in bodies if "," in body]
    points = [body for body in bodies if "." in body]
    others = sorted({sign for body in bodies for sign in body if sign in "'\u2019\u00a0\u202f "})
    grouped = re.compile(r"\d{1,3}([.,'\u2019\u00a0\u202f ]\d{3})+([.,]\d*)?")
    if others and not all(grouped.fullmatch(body) for body in bodies if set(body) & set(others)):
        return None
    both = [body for body in bodies if "," in body and "." in body]
    if both:
        decimal = "," if all(body.rfind(",") > body.rfind(".") for body in both) else "."
        thousands = "." if decimal == "," else ","
        if any(body.count(decimal) > 1 or body.rfind(thousands) > body.rfind(decimal) for body in both):
            return None
        return [*others, thousands], decimal, True
    if commas and points:
        return None if any(not grouped.fullmatch(body) for body in commas) else ([*others, ","], ".", True)
    if commas:
        return _by_commas(bodies, commas, others, known)
    if points and any(body.count(".") > 1 for body in points):
        return None if any(not grouped.fullmatch(body) for body in points) else ([*others, "."], ",", True)
    if points and all(_like_thousands(body, ".") for body in points):
        # Decimals have as many digits as they need, or all the same number: 812 beside 46.774 is neither.
        whole = any(re.fullmatch(r"[1-9]\d\d", body) for body in bodies)
        if known == "," or (not known and whole and len(points) > ENOUGH_POINTED):
            return [*others, "."], ",", whole and known == ","
    return others, ".", True


def _by_commas(
    bodies: Sequence[str], commas: Sequence[str], others: list[str], known: str
) -> tuple[list[str], str, bool] | None:
    """As `_separators`, where some numbers have commas and none has a point."""
    once = all(body.count(",") == 1 for body in commas)
    if not all(_like_thousands(body, ",") for body in commas) or (known == "," and once):
        return (others, ",", True) if once else None
    # Many decimals of three digits each would be a chance; so would be few decimals among whole numbers.
    sure = known == "." or not once or len(commas) > ENOUGH_POINTED or len(commas) < len(bodies) / 2
    return [*others, ","], ".", sure


def listed(texts: Iterable[str]) -> str:
    """Some values as they stand in the source: in quotes, so that no comment takes them for its own words."""
    return ", ".join(f"'{text}'" for text in sorted(texts)[:6])
