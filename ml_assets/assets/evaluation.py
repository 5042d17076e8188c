"""`evaluation`: what a version is worth."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import asset_key, data_origin, registry, spec
from ml_assets.assets.rows import rows_held_out, rows_to_learn, training_rows
from ml_assets.core.evaluation import check_gate, measure
from ml_assets.core.tasks import as_actual
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.models import Version

if TYPE_CHECKING:
    import polars as pl


def build_evaluation(project: Project) -> dg.AssetsDefinition:
    """The asset `evaluation`, with a check for every gate."""
    key = asset_key(project, "evaluation")
    gates = [
        dg.AssetCheckSpec(
            f"gate__{gate.metric}_{number}", asset=key, description=gate.model_dump_json(exclude_none=True)
        )
        for number, gate in enumerate(project.gates)
    ]

    @dg.multi_asset(
        name=f"{project.name}__evaluation",
        specs=[
            spec(
                project, "evaluation", "Metrics on the rows it learnt from and on those held out, and the gates.",
                deps=["model"], kinds=["scikitlearn"],
                code=[gate.model_dump_json() for gate in project.gates], partitioned=False,
            )
        ],
        check_specs=gates,
    )  # fmt: skip
    def evaluation(context: dg.AssetExecutionContext, lake: LakeResource) -> Any:
        version = registry().newest(project.name, context.run.run_id)
        rows = training_rows(lake.lake, project, version.training_set)
        metrics = {
            "train": _metrics(version, rows_to_learn(project, rows, version.training_set)),
            "test": _metrics(version, rows_held_out(project, rows, version.training_set)),
        }
        results = [check_gate(gate.metric, gate.at_most, gate.at_least, metrics["test"]) for gate in project.gates]
        registry().write_evaluation(version, {"metrics": metrics, "gates": [asdict(result) for result in results]})
        table = ["| metric | train | test |", "|---|---|---|"]
        table += [
            f"| {name} | {value:,.4g} | {metrics['test'][name]:,.4g} |"
            for name, value in metrics["train"].items()
            if name in metrics["test"]
        ]
        numbers = {f"test_{name}": value for name, value in metrics["test"].items()}
        yield dg.MaterializeResult(
            metadata={
                "version": version.number,
                "metrics": dg.MetadataValue.md("\n".join(table)),
                **numbers,
                **data_origin(project, lake.lake),
            }
        )
        for check, result in zip(gates, results, strict=True):
            yield dg.AssetCheckResult(
                check_name=check.name, asset_key=key, passed=result.passed, severity=dg.AssetCheckSeverity.WARN,
                metadata={"value": result.value, "demand": result.demand},
            )  # fmt: skip

    return evaluation


def _metrics(version: Version, rows: "pl.DataFrame") -> Mapping[str, float]:
    actual = as_actual(rows[version.target], version.task, version.classes)
    return measure(version.task, actual, registry().predict(version, rows))
