"""`evaluation`: what a version is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ml_assets.assets.common import asset_key, data_origin, registry, spec
from ml_assets.assets.judging import judge_version
from ml_assets.assets.rows import training_rows
from ml_assets.assets.showing import as_pictures
from ml_assets.core.evaluation import GateResult
from ml_assets.core.evaluation_pictures import PICTURES, draw_evaluation
from ml_assets.core.showing import escaped, markdown_table
from ml_assets.core.tasks import title_of
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.models import Version

BASELINES = "gate__baselines"


def build_evaluation(project: Project) -> dg.AssetsDefinition:
    """The asset `evaluation`, with a check for every gate."""
    key = asset_key(project, "evaluation")
    gates = [
        dg.AssetCheckSpec(
            f"gate__{gate.metric}_{number}", asset=key,
            description=gate.model_dump_json(exclude_none=True, exclude_defaults=True),
        )
        for number, gate in enumerate(project.gates)
    ]  # fmt: skip
    waiver = project.evaluation.baselines_waiver
    excused = f" It need not be: {waiver}" if waiver else ""
    gates.append(dg.AssetCheckSpec(BASELINES, asset=key, description=f"Better than every baseline.{excused}"))

    @dg.multi_asset(
        name=f"{project.name}__evaluation",
        specs=[
            spec(
                project, "evaluation", "Metrics with intervals on the rows held out, baselines, slices, the fit, and "
                "the gates.",
                deps=["model"], kinds=["scikitlearn"],
                code=[project.evaluation.model_dump_json(), *(gate.model_dump_json() for gate in project.gates)],
                partitioned=False,
            )
        ],
        check_specs=gates,
    )  # fmt: skip
    def evaluation(context: dg.AssetExecutionContext, lake: LakeResource) -> Any:
        version = registry().newest(project.name, context.run.run_id)
        found = judge_version(project, version, training_rows(lake.lake, project, version.training_set), registry())
        with found.part("pictures"):
            drawn = draw_evaluation(found.numbers)
        registry().write_evaluation(version, found.stored, drawn)
        for finding in found.numbers["fit"]:
            context.log.info("%s", finding["said"])
        yield dg.MaterializeResult(
            metadata={
                **in_words(version, found.stored),
                **as_pictures(drawn, PICTURES),
                **data_origin(project, lake.lake),
            }
        )
        for check, result in zip(gates, found.gates, strict=True):
            yield _check(key, check.name, result)

    return evaluation


def _check(key: dg.AssetKey, name: str, result: GateResult) -> dg.AssetCheckResult:
    waiver = {"waiver": result.waiver} if result.waiver else {}
    return dg.AssetCheckResult(
        check_name=name, asset_key=key, passed=result.passed, severity=dg.AssetCheckSeverity.WARN,
        metadata={"value": result.value, "demand": result.demand, **waiver},
    )  # fmt: skip


def in_words(version: Version, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers as metadata: those that Dagster draws over time, and a table for each picture."""
    test, watched = stored["metrics"]["test"], stored["watched"]
    tables = {
        "metrics": markdown_table(
            ("metric", "train", "test", f"{stored['resampling']['confidence']:.0%} interval"),
            (
                (name, f"{value:,.4g}", f"{test[name]:,.4g}", _ends(stored["intervals"], name))
                for name, value in stored["metrics"]["train"].items()
                if name in test
            ),
        ),
        "verdict": "\n".join(_finding(each) for each in stored["fit"]),
        "baselines": markdown_table(
            ("baseline", title_of(watched), "beaten", "p"),
            (_rung(each, watched) for each in stored["baselines"]),
        ),
        "slices": markdown_table(
            ("slice", "rows", title_of(watched), "interval", "the rest", "p"),
            (_slice(each, watched) for each in stored["slices"]),
        ),
        "learning_curve": markdown_table(
            ("rows learnt from", "on them", "on other training rows", "on those held out"),
            (
                (f"{step['rows']:,}", *(_loss(step[kind]) for kind in ("train", "left_out", "test")))
                for step in stored["learning_curve"]
            ),
        ),
        "seconds": markdown_table(
            ("part", "seconds"), ((part, f"{took:.2f}") for part, took in stored["seconds"].items())
        ),
    }
    if "threshold" in stored:
        found = stored["threshold"]
        tables["threshold"] = (
            f"Say the positive label above {found['value']:.3g}: it costs {found['test_cost']:.4g} a row of those "
            f"held out; above 0.5, {found['test_cost_of_half']:.4g}. Chosen on {found['rows']:,} training rows."
        )
    return {
        "version": version.number,
        **{f"test_{name}": value for name, value in test.items()},
        "intervals": stored["resampling"]["said"],
        "slices_looked_at": stored["slices_looked_at"],
        **{name: dg.MetadataValue.md(text) for name, text in tables.items() if text},
    }


def _finding(finding: Mapping[str, Any]) -> str:
    remedies = f" What may help: {escaped('; '.join(finding['remedies']))}." if finding["remedies"] else ""
    return f"- {escaped(finding['said'])}{remedies}"


def _rung(rung: Mapping[str, Any], metric: str) -> Sequence[str]:
    if "left_out" in rung:
        return rung["title"], "", rung["left_out"], ""
    return rung["title"], f"{rung['metrics'][metric]:,.4g}", "yes" if rung["beaten"] else "no", f"{rung['p_value']:.2g}"


def _slice(one: Mapping[str, Any], metric: str) -> Sequence[str]:
    value = one["metrics"].get(metric)
    compared = (f"{one['rest']:,.4g}", f"{one['p_value']:.2g}") if "p_value" in one else ("", "")
    shown = "" if value is None else f"{value:,.4g}"
    return one["title"], f"{one['rows']:,}", shown, _ends(one["intervals"], metric), *compared


def _ends(intervals: Mapping[str, Sequence[float]], name: str) -> str:
    return " … ".join(f"{end:,.4g}" for end in intervals[name]) if name in intervals else ""


def _loss(loss: Mapping[str, Any] | None) -> str:
    return "" if loss is None else f"{loss['value']:,.4g} ± {2 * loss['error']:.2g}"
