"""Which alarms every version that could have been trained would have raised: from profiles alone, no row is read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ml_assets.assets.drift import by_column
from ml_assets.core.alarms import Place, Watch, calibrate, judge
from ml_assets.core.partitioning import SEASONS
from ml_assets.lake.sql import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project


def alarms_of(
    project: Project, lake: Lake, windows: Sequence[Sequence[datetime]], served: Sequence[datetime], *, delay: int
) -> Callable[[int, int], bool] | None:
    """Whether drift would have alarmed, of a fit and a later partition; told when asked: few of all pairs ever are.

    Calibrated once a fit, on all partitions before it serves; live, a watch goes on learning. What an alarm does to the
    predictions is not asked: each counts as harmful.

    Args:
        project: the project.
        lake: holds its profiles.
        windows: for each fit, the partitions that it learns from.
        served: the partitions, in order; fit number i serves from number i on.
        delay: by how many partitions labels come late: then the target alarms as late.

    Returns:
        A function of the numbers of fit and partition; None where a partition has no profile.
    """
    calendar = project.calendar
    with lake.reader() as cursor:
        whole = Window(min(windows[0][0], project.start_of(project.first)), project.step(served[-1], 1))
        profiles = by_column(cursor, project, "profile", whole)
    if not {*served, *(start for window in windows for start in window)} <= profiles.keys():
        return None
    if delay:
        for profile in profiles.values():
            profile.pop(project.target, None)
    places = {start: Place(calendar.position(start), profile) for start, profile in sorted(profiles.items())}

    @cache
    def watch_of(fit: int) -> Watch:
        return calibrate(
            [places[start] for start in windows[fit]],
            [place for start, place in places.items() if start < served[fit]],
            budget=1 / project.monitoring.one_false_alarm_in,
            period=SEASONS.get(calendar.grain, 1),
        )

    return lambda fit, now: any(one.alarm for one in judge(watch_of(fit), places[served[now]]))
