"""`ml_assets.ModelProject`: the YAML-facing component. It parses, resolves names and files, and calls the builders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from ml_assets.assets.decision import build_decision
from ml_assets.assets.drift import build_drift
from ml_assets.assets.evaluation import build_evaluation
from ml_assets.assets.exploration import build_exploration
from ml_assets.assets.features import build_features, build_profile
from ml_assets.assets.model import build_model
from ml_assets.assets.performance import build_performance
from ml_assets.assets.predictions import build_predictions
from ml_assets.assets.promotion import build_champion
from ml_assets.assets.raw import build_raw
from ml_assets.assets.references import build_reference
from ml_assets.assets.replay import build_replay
from ml_assets.assets.skew import build_skew
from ml_assets.assets.training_set import build_training_set
from ml_assets.assets.validated import build_validated
from ml_assets.automation.approval import build_answer, build_approval
from ml_assets.automation.arrivals import build_arrivals_sensor, build_look
from ml_assets.automation.notify import build_alerts_sensor
from ml_assets.automation.schedules import build_refresh, build_schedule, build_skew_schedule
from ml_assets.automation.sensors import build_retraining, build_retraining_sensor
from ml_assets.checking import missing_files, require_right
from ml_assets.core.declaration import Declaration, DeclarationError, Mistake
from ml_assets.core.tasks import Task
from ml_assets.declared.alerts import Alerts
from ml_assets.declared.evaluation import Evaluation
from ml_assets.declared.leakage import Leakage
from ml_assets.declared.modelling import Gate, Training
from ml_assets.declared.monitoring import Monitoring
from ml_assets.declared.promotion import Promotion
from ml_assets.declared.retraining import Retraining
from ml_assets.declared.rows import Partitions, Validation
from ml_assets.declared.serving import Serving
from ml_assets.declared.sources import Reference, Source
from ml_assets.declared.tracking import Tracking
from ml_assets.lake.resource import shared_lake
from ml_assets.project import NAME, Project
from ml_assets.scaffold.scaffolder import ModelProjectScaffolder

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPE = "ml_assets.ModelProject"
# Stands in place of a path that nothing will be read from.
RECORDED = "recorded"


@dg.scaffold_with(ModelProjectScaffolder)
class ModelProject(dg.Component, dg.Model, dg.Resolvable):
    """A machine-learning project: declared once, it becomes the whole asset graph.

    The project's name is the name of the folder that holds its `defs.yaml`.
    """

    description: str = Field(description="What the project is for.")
    owners: list[str] = Field(default=[], description="`team:NAME` or e-mail addresses.")
    source: Source = Field(description="Where raw rows come from.")
    references: dict[str, Reference] = Field(
        default={}, description="Tables that features.sql may read beside `validated`, each under its name."
    )
    partitions: Partitions = Field(description="How rows are cut into partitions.")
    schema_: str = Field(
        alias="schema", description="`module:Class` of the pandera.polars.DataFrameModel of a clean row."
    )
    clean: str = Field(description="Path of clean.sql: one row for each row of `raw`, made readable.")
    features: str = Field(description="Path of features.sql: features and target from `validated`.")
    target: str = Field(description="The column of features.sql that is predicted.")
    task: Task = Field(default="regression", description="What the target is predicted as.")
    positive: str | bool | int | None = Field(
        default=None,
        description="The label that counts as positive in a binary task; by default the one that says true, yes or 1.",
    )
    validation: Validation = Field(default=Validation(), description="How much may be wrong with a partition.")
    training: Training = Field(description="How a model is trained.")
    evaluation: Evaluation = Field(default=Evaluation(), description="How a model is judged on the rows held out.")
    leakage: Leakage = Field(default=Leakage(), description="What is not known when a prediction is made.")
    gates: list[Gate] = Field(default=[], description="What a model must reach on its test partitions.")
    promotion: Promotion = Field(default=Promotion(), description="When a challenger takes over from the champion.")
    monitoring: Monitoring = Field(default=Monitoring(), description="When a statistic raises an alarm.")
    retraining: Retraining = Field(default=Retraining(), description="When a model is trained again.")
    alerts: Alerts = Field(default=Alerts(), description="Of what people are told at once.")
    tracking: Tracking = Field(default=Tracking(), description="Where versions are told of, beside the registry.")
    serving: Serving = Field(default=Serving(), description="How predictions are served.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The project's assets, checks, jobs, schedule and sensor."""
        declaration = read_declaration(context.path, context.project_root)
        if missing := self.missing_files(declaration):
            raise DeclarationError("\n".join(map(str, missing)))
        project = self.resolve_project(context.path.name, context.project_root)
        require_right(project, declaration)
        return build_definitions(project)

    def missing_files(self, declaration: Declaration) -> list[Mistake]:
        """The SQL files that are not there."""
        return missing_files(declaration, {"clean": self.clean, "features": self.features})

    def resolve_project(self, name: str, root: Path) -> Project:
        """The declaration with its files read.

        Raises:
            ValueError: naming what is wrong with it.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a project: use lower-case letters, digits and _, a letter first")
        return self._with_sql(
            name,
            clean=(_shown(self.clean, root), _read(self.clean)),
            features=(_shown(self.features, root), _read(self.features)),
        )

    def _with_sql(self, name: str, *, clean: tuple[str, str], features: tuple[str, str]) -> Project:
        """The declaration with its statements, each a path to be shown and a text."""
        return Project(
            name=name,
            description=self.description,
            owners=tuple(self.owners),
            source=self.source,
            partitions=self.partitions,
            schema=self.schema_,
            clean_sql=clean[1],
            features_sql=features[1],
            clean_path=clean[0],
            features_path=features[0],
            target=self.target,
            validation=self.validation,
            training=self.training,
            gates=tuple(self.gates),
            monitoring=self.monitoring,
            retraining=self.retraining,
            task=self.task,
            positive=_label(self.positive),
            references=self.references,
            tracking=self.tracking,
            alerts=self.alerts,
            evaluation=self.evaluation,
            leakage=self.leakage,
            promotion=self.promotion,
            serving=self.serving,
        )


def recorded_project(name: str, sources: Mapping[str, Any]) -> Project:
    """A project as a version's record declares it, whatever has become of its files since.

    Args:
        name: the project's.
        sources: what `assets.provenance.sources` kept. Its rows are in the lake: where they came from is not known.
    """
    kept = dict(sources["declaration"])
    kept["source"] = {"files": RECORDED, **kept["source"]}
    kept["references"] = {reference: {"files": RECORDED} for reference in kept["references"]}
    component = ModelProject.model_validate({**kept, "clean": RECORDED, "features": RECORDED})
    return component._with_sql(  # noqa: SLF001 - of this module
        name,
        clean=("the recorded clean.sql", sources["clean_sql"]),
        features=("the recorded features.sql", sources["features_sql"]),
    )


def build_definitions(project: Project) -> dg.Definitions:
    """The Dagster definitions of a resolved project."""
    look, refresh, retraining = build_look(project), build_refresh(project), build_retraining(project)
    return dg.Definitions(
        assets=[
            build_raw(project),
            build_validated(project),
            *(build_reference(project, name) for name in project.references),
            build_features(project),
            build_profile(project),
            build_exploration(project),
            build_training_set(project),
            build_model(project),
            build_evaluation(project),
            build_champion(project),
            build_predictions(project),
            build_drift(project),
            build_performance(project),
            build_decision(project),
            build_replay(project),
            build_skew(project),
        ],
        jobs=[look, refresh, retraining, build_approval(project), build_answer(project)],
        schedules=[build_schedule(project, look), build_skew_schedule(project)],
        sensors=[
            build_arrivals_sensor(project, look, refresh),
            build_retraining_sensor(project, retraining),
            build_alerts_sensor(project),
        ],
        resources={"lake": shared_lake()},
    )


def read_declaration(folder: Path, root: Path) -> Declaration:
    """The defs.yaml of a project's folder; an empty one where the project is declared in Python."""
    file = folder / "defs.yaml"
    return Declaration(file.read_text(encoding="utf-8") if file.is_file() else "", _shown(str(file), root))


def _read(path: str) -> str:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path}: there is no such file. Remedy: write it, or correct the path in defs.yaml")
    return file.read_text(encoding="utf-8").rstrip().rstrip(";")


def _label(value: str | bool | int | None) -> str | None:  # noqa: FBT001 - a label of any type
    """A label as the lake writes it as text."""
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


def _shown(path: str, root: Path) -> str:
    file = Path(path)
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
