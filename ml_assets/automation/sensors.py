"""The sensor that launches a retraining, exactly once for each live decision to retrain and each yes to one that asks.

It reads the ledger, not Dagster's events: a decision stands there also if the process that made it was killed before
Dagster heard of it. The run key is the decision's number and the attempt: Dagster never launches a run key again,
whatever the cursor says, so a daemon that is killed between a launch and its cursor repeats itself without effect.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG

from ml_assets.assets.common import ATTEMPT_TAG, DECISION_TAG, KILLED_TAG, RETRAINING_TAG, THROUGH_TAG, asset_key
from ml_assets.assets.decision import acting_decision
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import Entry, newest_id, read_entries, read_new, verdict_on

TRAINING = ("training_set", "model", "evaluation", "champion")
ATTEMPTS = 3
INTERVAL_SECONDS = 1


class Attempt(NamedTuple):
    """What the sensor remembers of a decision whose retraining is not over: which attempt, on rows up to when."""

    number: int
    through: str


def build_retraining(project: Project) -> Any:
    """The job `<project>_retrain`: from a training set to a verdict on a new version."""
    return dg.define_asset_job(
        f"{project.name}_retrain",
        selection=dg.AssetSelection.assets(*(asset_key(project, name) for name in TRAINING)),
        description=f"Trains a challenger for {project.name} and judges it against the champion.",
        executor_def=dg.in_process_executor,
        # One at a time per project: the second would train the same challenger.
        tags={RETRAINING_TAG: project.name},
    )


def build_retraining_sensor(project: Project, job: Any) -> dg.SensorDefinition:
    """The sensor `<project>_retraining`."""

    @dg.sensor(
        name=f"{project.name}_retraining",
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches a retraining for each live decision to retrain, and again when it failed.",
    )
    def retraining(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
        if not lake.lake.catalogue.exists():
            return _result([], 0, {}, "nothing has been materialized yet")
        with lake.lake.reader() as cursor:
            if context.cursor is None:
                # A new sensor starts from now: a history is never replayed.
                return _result([], newest_id(cursor), {}, "starts from now: older decisions are not acted on")
            state = json.loads(context.cursor)
            after = state["ledger"] if "ledger" in state else _after_upgrade(read_entries(cursor, project.name))
            found = {int(name): _attempt(kept) for name, kept in state["open"].items()}
            for entry in read_new(cursor, after, project.name):
                after = entry.id
                if decision := _to_act_on(entry):
                    found.setdefault(decision, Attempt(1, entry.partition))
            found = {one: attempt for one, attempt in found.items() if not verdict_on(cursor, project.name, one)}
        requests, still_open = [], {}
        for decision, attempt in found.items():
            runs = context.instance.get_runs(
                dg.RunsFilter(tags={DECISION_TAG: str(decision), RETRAINING_TAG: project.name})
            )
            wanted, is_over = _judge(runs, attempt)
            if is_over:
                continue
            still_open[decision] = wanted or attempt
            if wanted:
                requests.append(_request(project, decision, wanted))
        return _result(requests, after, still_open, "no decision asks for a retraining")

    return retraining


def _to_act_on(entry: Entry) -> int:
    """The decision that an entry says is to be acted on; 0 where it says nothing of the kind."""
    if (entry.kind, entry.action, entry.standing) == ("decision", "retrain", "live"):
        return entry.id
    return int(entry.facts["decision"]) if (entry.kind, entry.action) == ("answered", "yes") else 0


def _judge(runs: Sequence[dg.DagsterRun], attempt: Attempt) -> tuple[Attempt | None, bool]:
    """What is to be launched for a decision, if anything, and whether its retraining is over.

    Args:
        runs: all that were launched for it.
        attempt: the newest that was asked for. While it has no run it is asked for again: its key is the same.
    """
    newest = max(runs, key=_number, default=None)
    if newest is None or _number(newest) < attempt.number:
        return attempt, False
    if newest.status in {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED}:
        return None, True
    if newest.status is not dg.DagsterRunStatus.FAILURE:
        return None, False
    failed = [one for one in runs if one.status is dg.DagsterRunStatus.FAILURE and not _was_killed(one)]
    if len(failed) >= ATTEMPTS:
        return None, True
    return Attempt(_number(newest) + 1, newest.tags.get(THROUGH_TAG, attempt.through)), False


def _was_killed(run: dg.DagsterRun) -> bool:
    """Whether a run that failed did not do so by itself.

    It ended with its daemon, or was never begun: its daemon was killed in the moment between saying that it starts a
    process and starting it. Dagster gives that up after `start_timeout_seconds`.
    """
    return KILLED_TAG in run.tags or run.tags.get(RUN_FAILURE_REASON_TAG) == RunFailureReason.START_TIMEOUT.value


def _number(run: dg.DagsterRun) -> int:
    return int(run.tags.get(ATTEMPT_TAG, "1"))


def _after_upgrade(entries: Sequence[Entry]) -> int:
    """Where a sensor goes on whose cursor was kept before it read the ledger: nothing that is open is lost."""
    acting = acting_decision(entries)
    return acting.id - 1 if acting else max((one.id for one in entries), default=0)


def _attempt(kept: Any) -> Attempt:
    """As the cursor has it; before the sensor read the ledger, only the number."""
    return Attempt(kept, "") if isinstance(kept, int) else Attempt(*kept)


def _request(project: Project, decision: int, attempt: Attempt) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{project.name}-decision-{decision}-{attempt.number}",
        run_config={"ops": {f"{project.name}__training_set": {"config": {"through": attempt.through}}}},
        tags={
            DECISION_TAG: str(decision),
            RETRAINING_TAG: project.name,
            ATTEMPT_TAG: str(attempt.number),
            THROUGH_TAG: attempt.through,
            # Attempts are counted here; Dagster's own retries would come on top of them.
            "dagster/max_retries": "0",
        },
    )


def _result(requests: list[dg.RunRequest], after: int, found: dict[int, Attempt], otherwise: str) -> dg.SensorResult:
    cursor = json.dumps({"ledger": after, "open": found})
    return dg.SensorResult(
        run_requests=requests, cursor=cursor, skip_reason=None if requests else dg.SkipReason(otherwise)
    )
