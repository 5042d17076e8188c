"""Where versions are told of, beside the registry."""

from __future__ import annotations

import dagster as dg
from pydantic import Field, field_validator

from ml_assets.declared.sources import variable_name


class Mlflow(dg.Model, dg.Resolvable):
    """An MLflow tracking server; needs the extra `mlflow`."""

    url_env: str = Field(
        default="MLFLOW_TRACKING_URI", description="Environment variable that holds the server's address."
    )
    experiment: str = Field(default="", description="Name of the experiment; the project's where it is left out.")

    @field_validator("url_env")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return variable_name("url_env", value)


class Tracking(dg.Model, dg.Resolvable):
    """Where each version is logged once it has been judged. The registry stays what counts: nothing waits for it."""

    mlflow: Mlflow | None = Field(default=None, description="An MLflow tracking server.")
