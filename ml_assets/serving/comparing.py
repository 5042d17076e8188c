"""Two versions side by side: what was different when they were trained, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.tasks import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_assets.registry.models import Version

# Settings that are shown as texts, line by line; and those that differ in any two versions, or stand among the data.
TEXTS = ("sources.clean_sql", "sources.features_sql", "sources.schema_source")
ALWAYS = frozenset({"number", "created_at", "run_id", "parent", "artefact", "predictions"})


@dataclass(frozen=True)
class Measured:
    """A metric, or that of a slice, of two versions.

    Attributes:
        name: of the metric; the title of a slice.
        values: of each; None where it has none.
        intervals: of each; None where there is none.
        better: 0 or 1, which is better; None where that cannot be told: missing, without an interval, or intervals that
            overlap.
    """

    name: str
    values: tuple[float | None, float | None]
    intervals: tuple[Sequence[float] | None, Sequence[float] | None]
    better: int | None


@dataclass(frozen=True)
class Compared:
    """Two versions side by side.

    Attributes:
        versions: their records.
        watched: the metric of the slices.
        metrics: those of the rows held out.
        same_rows: whether both were tested on the same partitions.
        slices: those that either evaluation tells of, by the watched metric.
        settings: name → value of each, where they differ: no metrics, no texts, nothing of the data.
        texts: name → lines with `+`, `-` or a blank before each, where the texts differ.
        pictures: names of those that both have.
    """

    versions: tuple[Version, Version]
    watched: str
    metrics: tuple[Measured, ...]
    same_rows: bool
    slices: tuple[Measured, ...]
    settings: Mapping[str, Sequence[Any]]
    texts: Mapping[str, Sequence[str]]
    pictures: tuple[str, ...]


def compare(
    one: tuple[Version, Mapping[str, Any]], other: tuple[Version, Mapping[str, Any]], settings: Mapping[str, list[Any]]
) -> Compared:
    """Hold two versions against each other.

    Args:
        one: a version's record and evaluation.
        other: another's.
        settings: what `lives.diff_versions` says of them.
    """
    evaluations = (one[1], other[1])
    tests = tuple(found.get("metrics", {}).get("test", {}) for found in evaluations)
    watched = next((found["watched"] for found in evaluations if "watched" in found), next(iter(tests[0]), ""))
    intervals = tuple(found.get("intervals", {}) for found in evaluations)
    metrics = tuple(
        _measured(name, name, tests, intervals) for name in dict.fromkeys([*tests[0], *tests[1]]) if name in BY_NAME
    )
    slices = tuple({each["title"]: each for each in found.get("slices", ())} for found in evaluations)
    titles = dict.fromkeys([*slices[0], *slices[1]])
    in_slices = tuple(
        _measured(
            title,
            watched,
            tuple(found.get(title, {}).get("metrics", {}) for found in slices),
            tuple(found.get(title, {}).get("intervals", {}) for found in slices),
        )
        for title in titles
    )
    pictures = [name for name in evaluations[0].get("pictures", ()) if name in evaluations[1].get("pictures", ())]
    return Compared(
        versions=(one[0], other[0]),
        watched=watched,
        metrics=metrics,
        same_rows=one[0].training_set.test == other[0].training_set.test,
        slices=in_slices,
        settings={
            name: values
            for name, values in settings.items()
            if not name.startswith(("test.", "training_set.")) and name not in TEXTS and name not in ALWAYS
        },
        texts={name: lines(*settings[name]) for name in TEXTS if name in settings},
        pictures=tuple(pictures),
    )


def _measured(
    title: str, metric: str, values: Sequence[Mapping[str, Any]], intervals: Sequence[Mapping[str, Any]]
) -> Measured:
    first, second = values[0].get(metric), values[1].get(metric)
    ends = intervals[0].get(metric), intervals[1].get(metric)
    return Measured(title, (first, second), ends, _better(metric, first, second, ends))


def _better(
    metric: str, first: float | None, second: float | None, ends: tuple[Sequence[float] | None, Sequence[float] | None]
) -> int | None:
    if first is None or second is None or first == second:
        return None
    one, other = ends
    if not one or not other or (one[0] <= other[1] and other[0] <= one[1]):
        return None
    return int((second > first) == BY_NAME[metric].larger_is_better)


def lines(before: str | None, after: str | None) -> list[str]:
    """Two texts as one, line by line: `-` before those that went, `+` before those that came, a blank before others."""
    from difflib import unified_diff  # noqa: PLC0415

    found = unified_diff((before or "").splitlines(), (after or "").splitlines(), lineterm="", n=2)
    return list(found)[2:]  # the first two name files; a removed comment of SQL looks like one of them
