"""A project at a glance: is its model all right, how fresh is it, what waits. Read off its state, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_assets.core.tasks import title_of
from ml_assets.serving.stories import AGAIN, Why, last_trained
from ml_assets.serving.words import counted
from ml_assets.serving.words import metric as shown

if TYPE_CHECKING:
    from datetime import datetime

    from ml_assets.registry.certificates import Certificate
    from ml_assets.serving.queries import Partition, State

Level = Literal["good", "watch", "bad", "new"]
# Shape and word beside the colour: nobody need tell colours apart.
MARKS: dict[str, tuple[str, str]] = {
    "good": ("\N{BLACK CIRCLE}", "All right"),
    "watch": ("\N{BLACK UP-POINTING TRIANGLE}", "Look"),
    "bad": ("\N{BLACK SQUARE}", "Not all right"),
    "new": ("\N{WHITE CIRCLE}", "Nothing yet"),
}
WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True)
class Freshness:
    """How fresh a project's rows are.

    Attributes:
        key: the newest partition.
        read_at: when it was read from the source, naive UTC; None where nobody noted it.
        behind: partitions that have ended since, and are not there; None where partitions are no spans of time.
        is_late: whether that is late: its rows have been coming as they came to be, and now they do not.
    """

    key: str
    read_at: datetime | None
    behind: int | None
    is_late: bool


@dataclass(frozen=True)
class Glance:
    """A project at a glance.

    Attributes:
        level: of the traffic light.
        words: one sentence: how its model does.
        why: why the newest version was trained; None where there is none.
        freshness: of its rows; None where there are none.
        waits: what waits for a person, in words; "" where nothing does.
        skew: the columns that were served otherwise than training would have made them; "" where there are none.
    """

    level: Level
    words: str
    why: Why | None
    freshness: Freshness | None
    waits: str
    skew: str = ""

    @property
    def mark(self) -> str:
        """The traffic light as a shape."""
        return MARKS[self.level][0]

    @property
    def title(self) -> str:
        """The traffic light as words."""
        return MARKS[self.level][1]


def glance_of(state: State, now: datetime, certificate: Certificate | None = None) -> Glance:
    """A project at a glance.

    Args:
        state: of the project; its newest partitions are enough.
        now: naive UTC.
        certificate: the newest of what was served; None where there is none.
    """
    fresh, waits = freshness_of(state, now), _waits(state)
    skew = ", ".join(certificate.at_fault) if certificate else ""
    level, words = _model(state)
    if level == "good" and (waits or skew or (fresh and fresh.is_late)):
        level = "watch"
    return Glance(level, words, last_trained(state.entries), fresh, waits, skew)


def freshness_of(state: State, now: datetime) -> Freshness | None:
    """How fresh a project's rows are; None where there are none.

    Late is what was up to date before: the newest partition was read within one partition of its end, and by now a
    whole further one has ended and passed. A recorded history is behind, and not late.
    """
    newest, project = state.newest, state.project
    if newest is None:
        return None
    if not project.calendar.has_time:
        return Freshness(newest.key, state.read_at, None, is_late=False)
    ended = project.newest_ended(now)
    behind = _steps(state, newest.start, ended) if ended is not None else 0
    was_live = state.read_at is not None and state.read_at < project.step(newest.start, 2)
    return Freshness(newest.key, state.read_at, behind, is_late=was_live and behind > 1)


def _steps(state: State, start: datetime, end: datetime) -> int:
    """Partitions from one to another; 0 where it is no later. By their numbers: hours of years are not gone through."""
    if end <= start:
        return 0
    calendar = state.project.calendar
    return calendar.position(end) - calendar.position(start)


def _model(state: State) -> tuple[Level, str]:
    """How the champion does, in words."""
    metric = title_of(state.project.watched)
    if state.newest is None:
        return "new", "no partition has been materialized."
    if state.champion is None:
        return "watch", "no version serves yet."
    number, judged = state.champion.number, state.judged
    tested = shown(state.reference(number), state.project.watched)
    if judged is None:
        return "watch", f"version {number} serves, not measured on new rows yet; {metric} {tested} in its test."
    error, reference = shown(judged.error, state.project.watched), state.reference(judged.version)
    standing = f" ({judged.standing})" if judged.standing == "provisional" else ""
    if judged.version != number:
        before = f"version {judged.version} before it came to {error} in {judged.key}"
        return _newly(state, f"{metric} {tested} in its test", before)
    if reference is None:
        return "watch", f"{metric} {error}{standing} in {judged.key}; the version was never tested."
    words = f"{metric} {error}{standing} in {judged.key} against {shown(reference, state.project.watched)} expected."
    return ("bad" if _is_worse(state, judged, reference) else "good"), words


def _newly(state: State, tested: str, before: str) -> tuple[Level, str]:
    """How a champion does that took over since an error was last measured: as new, or as one that served before."""
    number, own, metric = state.champion.number if state.champion else 0, state.own, state.project.watched
    is_again = bool(state.promotions) and state.promotions[-1].action in AGAIN
    words = f"version {number} {'serves again' if is_again else 'is new'}"
    if own is None:
        return "good", f"{words}, {tested}; {before}."
    reference = state.reference(number)
    level: Level = "bad" if reference is not None and _is_worse(state, own, reference) else "good"
    return (
        level,
        f"{words}, {title_of(metric)} {shown(own.error, metric)} in {own.key} when it served before; {before}.",
    )


def _is_worse(state: State, judged: Partition, reference: float) -> bool:
    return judged.error is not None and judged.error > state.project.retraining.tolerance * reference


def _waits(state: State) -> str:
    told = []
    if state.ask:
        told.append(f"a question on {state.ask.partition}")
    if state.waiting:
        told.append(f"version {state.waiting.number}")
    return " and ".join(told)


@dataclass(frozen=True)
class Spark:
    """The error of the newest partitions as a line, in a picture of `WIDTH` by `HEIGHT`.

    Attributes:
        paths: of an SVG; a gap where an error is not known.
        end: where the newest point lies.
        words: the same in words.
    """

    paths: tuple[str, ...]
    end: tuple[float, float]
    words: str


def spark_of(state: State) -> Spark | None:
    """The line of a project; None where fewer than two errors are known."""
    known = [one for one in state.partitions if one.error is not None]
    if len(known) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    metric = state.project.watched
    errors = [one.error for one in state.partitions if known[0].start <= one.start <= known[-1].start]
    most = max(error for error in errors if error is not None) or 1.0
    step = (WIDTH - 8) / (len(errors) - 1)
    paths: list[list[tuple[float, float]]] = []
    current: list[tuple[float, float]] = []
    end = (0.0, 0.0)
    for position, error in enumerate(errors):
        if error is None:
            paths.append(current)
            current = []
            continue
        end = (round(4 + position * step, 1), round(HEIGHT - 4 - (HEIGHT - 8) * error / most, 1))
        current.append(end)
    paths.append(current)
    drawn = tuple("M" + " L".join(f"{x} {y}" for x, y in path) for path in paths if path)
    first, last = known[0], known[-1]
    words = (
        f"{title_of(metric)} of {counted(len(known), 'partition')}: {shown(first.error, metric)} in {first.key}, "
        f"{shown(last.error, metric)} in {last.key}, at most {shown(most, metric)}"
    )
    return Spark(drawn, end, words)
