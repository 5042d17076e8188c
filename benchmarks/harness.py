"""A row of the benchmark: two sides, measured side by side on the same machine in the same minutes, and a target.

A ratio of two things measured together survives a slow or busy machine, an absolute time does not; so a row always has
another side, runs alternate, and medians are compared. A row whose sides did unequal work is an error, not a figure.
"""

from __future__ import annotations

import operator
import re
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.process import Measured

Figure = Literal["seconds", "cpu_seconds", "peak_rss_mib", "reported"]

COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


class UnequalWorkError(RuntimeError):
    """The two sides of a row did not do the same work, so that their figures must not be compared."""


@dataclass(frozen=True)
class Target:
    """What a row must reach: a bound on `ours / other` (unit `x`), or on `ours` in the row's own unit."""

    comparison: str
    bound: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that a text such as `<= 1.8 x` or `< 200 MiB` states.

        Raises:
            ValueError: The text is not a comparison, a number and a unit.
        """
        match = re.fullmatch(r"(<=|<|>=|>) (\d+(?:\.\d+)?) (\S+)", text)
        if match is None:
            raise ValueError(f"target {text!r}: write a comparison, a number and a unit, such as '<= 1.8 x'")
        return cls(match[1], float(match[2]), match[3])

    def met(self, comparison: Comparison) -> bool:
        """Return whether the figures reach the target."""
        value = comparison.ratio if self.unit == "x" else comparison.ours
        return bool(COMPARE[self.comparison](value, self.bound))


@dataclass(frozen=True)
class Comparison:
    """The figures of both sides, one per repeat, in the row's unit; where our seconds went, in one more run."""

    ours_each: tuple[float, ...]
    other_each: tuple[float, ...]
    profile: Mapping[str, float] = field(default_factory=dict)

    @property
    def ours(self) -> float:
        """The median of our side."""
        return statistics.median(self.ours_each)

    @property
    def other(self) -> float:
        """The median of the other side."""
        return statistics.median(self.other_each)

    @property
    def ratio(self) -> float:
        """Ours over other."""
        return self.ours / self.other


@dataclass(frozen=True)
class Row:
    """A registered row: what it compares, what it must reach, and how it is measured."""

    name: str
    target: str
    unit: str
    ours: str
    other: str
    measure: Callable[[], Comparison]


ROWS: dict[str, Row] = {}


def row(name: str, *, target: str, unit: str, ours: str, other: str) -> Callable[[Callable[[], Comparison]], Row]:
    """Register a function that measures both sides as a row of the benchmark.

    Args:
        name: The name for `--only` and in `results.json`.
        target: Such as `<= 1.8 x` (ours over other) or `<= 200 MiB` (ours alone, in the row's unit).
        unit: The unit of the figures: `s`, `MiB`, …
        ours: What our side does, in a few words.
        other: What the other side does.

    Returns:
        A decorator that turns the function into the registered `Row`.

    Raises:
        ValueError: The name is taken, the target cannot be read, or its unit is neither `x` nor the row's.
    """
    if name in ROWS:
        raise ValueError(f"row {name!r} is registered twice: rename one")
    if Target.parse(target).unit not in {"x", unit}:
        raise ValueError(f"row {name!r}: the target {target!r} must be in 'x' or in the row's unit, {unit!r}")

    def register(measure: Callable[[], Comparison]) -> Row:
        ROWS[name] = Row(name=name, target=target, unit=unit, ours=ours, other=other, measure=measure)
        return ROWS[name]

    return register


def alternate(
    ours: Callable[[], Measured],
    other: Callable[[], Measured],
    *,
    repeats: int,
    figure: Figure = "seconds",
    same_work: Sequence[str] = (),
) -> Comparison:
    """Measure both sides in turn, changing who goes first each time, so that neither has the warmer machine.

    Args:
        ours: Runs our side once.
        other: Runs the other side once.
        repeats: How often each side runs.
        figure: What is compared.
        same_work: Names of counts that both sides print in their JSON line and that must be equal in every repeat.

    Returns:
        The figures of both sides.

    Raises:
        UnequalWorkError: A count differs.
    """
    ours_each, other_each = [], []
    for repeat in range(repeats):
        if repeat % 2 == 0:
            mine, theirs = ours(), other()
        else:
            theirs, mine = other(), ours()
        if same_work:
            require_same_work(mine.report(), theirs.report(), same_work)
        ours_each.append(value_of(mine, figure))
        other_each.append(value_of(theirs, figure))
    return Comparison(tuple(ours_each), tuple(other_each))


def require_same_work(ours: dict[str, Any], other: dict[str, Any], counts: Sequence[str]) -> None:
    """Check that both sides report the same counts.

    Raises:
        UnequalWorkError: A count differs, or one side does not report it; the message names all of them.
    """
    unequal = [
        f"{name}: ours {ours.get(name)}, other {other.get(name)}"
        for name in counts
        if name not in ours or name not in other or ours[name] != other[name]
    ]
    if unequal:
        raise UnequalWorkError("the two sides did not do the same work: " + "; ".join(unequal))


def value_of(measured: Measured, figure: Figure) -> float:
    """Return one figure of a process: seconds, CPU seconds, peak resident memory in MiB, or the seconds it reports."""
    if figure == "reported":
        return float(measured.report()["seconds"])
    if figure == "peak_rss_mib":
        return measured.peak_rss_bytes / 2**20
    return measured.seconds if figure == "seconds" else measured.cpu_seconds
