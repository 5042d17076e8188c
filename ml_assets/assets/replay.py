"""`replay`: what each policy of retraining would have cost over the recorded history, and which to take."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from ml_assets.assets.common import data_origin, spec
from ml_assets.assets.replaying import ReplayError, history_of
from ml_assets.assets.showing import as_pictures
from ml_assets.core.policy import Policy, Rule
from ml_assets.core.replay_pictures import PICTURES, draw_replay
from ml_assets.core.replay_report import Replayed, Report, as_json, report
from ml_assets.core.showing import markdown_table
from ml_assets.core.tasks import BY_NAME, title_of
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.replays import folder_of_fits, write_replay

PLAYED: tuple[Policy, ...] = ("never", "periodic", "drift", "performance", "worth_it")


class ReplayConfig(dg.Config):
    """What a person may ask of a replay."""

    policies: list[str] = Field(default=[])
    """Those to play; all where it is empty."""
    price: float = 0.0
    """The price of a retraining instead of the declared one."""
    label_delay: int = 0
    """By how many partitions labels come late."""


def build_replay(project: Project) -> dg.AssetsDefinition:
    """The asset `replay`."""

    @dg.multi_asset(
        name=f"{project.name}__replay",
        specs=[
            spec(
                project, "replay", "Every policy of retraining over the recorded history, beside what hindsight would "
                "have done. For people: nothing downstream reads it.",
                deps=["features"], kinds=["scikitlearn"], partitioned=False,
                code=[project.training.model_dump_json(), project.retraining.model_dump_json()],
            )
        ],
    )  # fmt: skip
    def asset(context: dg.AssetExecutionContext, config: ReplayConfig, lake: LakeResource) -> dg.MaterializeResult[Any]:
        found = replay_project(project, lake.lake, config, context.log.info)
        drawn = draw_replay(found)
        write_replay(project.name, as_json(found), drawn)
        return dg.MaterializeResult(
            metadata={
                "recommended": found.recommended,
                "recommendation": found.words,
                "policies": dg.MetadataValue.md(markdown_table(*table_of(found))),
                "frontier": dg.MetadataValue.json(dict(found.frontier)),
                "retrainings": dg.MetadataValue.json({one.policy: one.retrained for one in found.policies}),
                **as_pictures(drawn, PICTURES),
                **data_origin(project, lake.lake),
            }
        )

    return asset


def replay_project(project: Project, lake: Lake, config: ReplayConfig, say: Callable[[str], None]) -> Report:
    """Replay a project.

    Args:
        project: the project.
        lake: holds its features.
        config: what is asked.
        say: hears of the progress.

    Raises:
        ReplayError: if there is no such policy, or too little history.
    """
    unknown = [name for name in config.policies if name not in PLAYED]
    if unknown:
        raise ReplayError(f"there is no policy {unknown[0]!r}. There are: {', '.join(PLAYED)}")
    if config.price < 0 or config.label_delay < 0:
        raise ReplayError("a price is more than 0, and a delay of labels at least 0 partitions")
    with_alarms = not config.policies or "drift" in config.policies
    history = history_of(
        project, lake, folder_of_fits(project.name), delay=config.label_delay, with_alarms=with_alarms, say=say
    )
    wanted = [name for name in PLAYED if not config.policies or name in config.policies]
    if history.alarms is None:
        why = (
            "some partitions have no profile, so nobody knows where drift would have alarmed. "
            f"Remedy: materialize `profile` for all of them, with `ml-assets backfill {project.name}`"
        )
        if config.policies == ["drift"]:
            raise ReplayError(f"{project.name}: {why}")
        if "drift" in wanted:
            say(f"the policy drift is not played: {why}")
        wanted = [name for name in wanted if name != "drift"]
    price = config.price or project.retraining.price
    rules: dict[str, Rule] = {name: replace(project.retraining.rule(name), price=price) for name in wanted}
    return report(history, rules, price=price, declared=project.retraining.policy)


def table_of(found: Report) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Head and rows of the table of policies, as people read it."""
    share = BY_NAME[found.metric].is_share
    head = (
        "policy", "retrainings", "reinstated", title_of(found.metric), "evenly spaced, tuned", "oracle", "of its gain",
        "cost",
    )  # fmt: skip

    def shown(error: float) -> str:
        return f"{error:.2%}" if share else f"{error:.4g}"

    def row(one: Replayed) -> Sequence[str]:
        gain = "" if one.share is None else f"{one.share:.0%}"
        return (
            one.policy, str(one.retrainings), str(one.reinstatements), shown(one.error), shown(one.periodic),
            shown(one.oracle), gain, f"{one.cost:.1f}",
        )  # fmt: skip

    return head, [row(one) for one in found.policies]
