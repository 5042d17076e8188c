"""The sensor that launches a retraining, exactly once for each live decision that asks for one.

It follows the materializations of `decision` by their storage id, oldest first, so that it sees every partition of a
range and nothing twice. The run key is the ledger id and the attempt: Dagster never launches a run key again, whatever
the cursor says, so a daemon that is killed between a launch and its cursor repeats itself without effect.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import DECISION_TAG, RETRAINING_TAG, asset_key

if TYPE_CHECKING:
    from ml_assets.project import Project

TRAINING = ("training_set", "model", "evaluation", "champion")
ATTEMPTS = 3
INTERVAL_SECONDS = 1
PAGE = 200


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
        description="Launches a retraining for each live decision that asks for one, and again when it failed.",
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        key = asset_key(project, "decision")
        instance = context.instance
        if context.cursor is None:
            # A new sensor starts from now: a history is never replayed.
            newest = instance.fetch_materializations(key, limit=1).records
            after = newest[0].storage_id if newest else 0
            return _result([], after, {}, "starts from now: older decisions are not acted on")
        state = json.loads(context.cursor)
        after, attempts = int(state["after"]), {int(name): int(tried) for name, tried in state["open"].items()}
        asked = _asked(instance, key, after)
        requests = []
        for storage_id, decision, partition in asked:
            after = max(after, storage_id)
            if decision and decision not in attempts:
                attempts[decision] = 1
                requests.append(_request(project, decision, 1, partition))
        for decision in [one for one in attempts if one not in {asked_for for _, asked_for, _ in asked}]:
            runs = instance.get_runs(dg.RunsFilter(tags={DECISION_TAG: str(decision)}), limit=1)
            # No run yet: it was requested in the tick before and is being created.
            status = runs[0].status if runs else None
            if status in {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED}:
                del attempts[decision]
            elif status is dg.DagsterRunStatus.FAILURE:
                tried = int(runs[0].tags["ml_assets/attempt"])
                if tried >= ATTEMPTS:
                    del attempts[decision]
                else:
                    attempts[decision] = tried + 1
                    through = runs[0].tags["ml_assets/through"]
                    requests.append(_request(project, decision, tried + 1, through))
        return _result(requests, after, attempts, "no decision asks for a retraining")

    return retraining


def _asked(instance: dg.DagsterInstance, key: dg.AssetKey, after: int) -> list[tuple[int, int, str]]:
    """New decisions, oldest first: storage id, the ledger id to act on (0 for none), its partition."""
    found = []
    cursor = None
    while True:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, after_storage_id=after), limit=PAGE, cursor=cursor, ascending=True
        )
        for record in page.records:
            event = record.asset_materialization
            if event is not None and "acting_decision" in event.metadata:
                found.append(
                    (
                        record.storage_id,
                        int(str(event.metadata["acting_decision"].value)),
                        str(event.metadata["acting_partition"].value),
                    )
                )
            else:
                found.append((record.storage_id, 0, ""))
        if not page.has_more:
            return found
        cursor = page.cursor


def _request(project: Project, decision: int, attempt: int, partition: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{project.name}-decision-{decision}-{attempt}",
        run_config={"ops": {f"{project.name}__training_set": {"config": {"through": partition}}}},
        tags={
            DECISION_TAG: str(decision),
            RETRAINING_TAG: project.name,
            "ml_assets/attempt": str(attempt),
            "ml_assets/through": partition,
            # Attempts are counted here; Dagster's own retries would come on top of them.
            "dagster/max_retries": "0",
        },
    )


def _result(requests: list[dg.RunRequest], after: int, attempts: dict[int, int], otherwise: str) -> dg.SensorResult:
    cursor = json.dumps({"after": after, "open": attempts})
    return dg.SensorResult(
        run_requests=requests, cursor=cursor, skip_reason=None if requests else dg.SkipReason(otherwise)
    )
