"""What every page needs: the declared projects, where their state is read from, and the templates."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.core.tasks import BY_NAME, title_of
from ml_assets.lake.connection import Lake
from ml_assets.lake.origin import origin_warning
from ml_assets.registry.models import Registry, home_registry
from ml_assets.serving.access.caller import CURRENT
from ml_assets.serving.queries import reading
from ml_assets.serving.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project

FOLDER = Path(__file__).parent
# The metrics that the table of versions shows; a version's evaluation holds more.
SHOWN = {
    "regression": ("mape", "rmse", "mae", "r2"),
    "binary": ("log_loss", "brier", "accuracy", "f1", "roc_auc"),
    "multiclass": ("log_loss", "accuracy", "f1_macro"),
}


@dataclass(frozen=True)
class Site:
    """The parts of one application.

    Attributes:
        projects: by name.
        lake, registry: where their state is read from.
        reports: Evidently's, rendered and kept.
        templates: autoescaping.
    """

    projects: "Mapping[str, Project]"
    lake: Lake
    registry: Registry
    reports: Reports
    templates: "Environment"

    def project(self, name: str) -> "Project":
        """The declared project of a name.

        Raises:
            HTTPException: 404, naming those that there are.
        """
        from fastapi import HTTPException

        if name not in self.projects:
            there = ", ".join(one.name for one in self.shown()) or "none"
            raise HTTPException(404, f"There is no project {name!r}. Declared are: {there}.")
        return self.projects[name]

    def shown(self) -> "list[Project]":
        """The projects that whoever asks may look at: no page names another."""
        return [one for one in self.projects.values() if self.is_shown(one.name)]

    def is_shown(self, name: str) -> bool:
        """Whether whoever asks may look at a project, declared or not."""
        return CURRENT.get().may("look", name)

    def start_of(self, project: "Project", key: str) -> datetime:
        """The start of a partition whose key is written as the project writes it: nothing else gets near a path or SQL.

        Raises:
            HTTPException: 404, saying what keys look like.
        """
        from fastapi import HTTPException

        try:
            return project.start_of(key)
        except ValueError as error:
            raise HTTPException(404, f"{error}.") from error

    def page(
        self, template: str, *, warnings: "Sequence[str | None]", status: int = 200, **values: Any
    ) -> "HTMLResponse":
        """Render a page.

        Args:
            template: its file.
            warnings: what must be said of the data's origin, for each project that the page is about.
            status: of the response.
            values: for the template.
        """
        from starlette.responses import HTMLResponse  # noqa: PLC0415

        said = list(dict.fromkeys(warning for warning in warnings if warning))
        text = self.templates.get_template(template).render(projects=self.shown(), warnings=said, **values)
        return HTMLResponse(text, status)

    def error(self, status: int, title: str, message: str) -> "HTMLResponse":
        """A page that says what is wrong and what there is instead."""
        with reading(self.lake) as cursor:
            warnings = [origin_warning(cursor, one.name) for one in self.shown()] if cursor else []
        return self.page("error.html", warnings=warnings, status=status, title=title, message=message)


def build_site(projects: "Mapping[str, Project]") -> Site:
    """The site of this home folder."""
    home = settings.home()
    return Site(projects, Lake(home / "lake"), home_registry(), Reports(home / "reports"), _templates())


def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    templates = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["shown_metrics"] = SHOWN
    templates.globals["who"] = CURRENT.get
    templates.filters |= {"metric": show_metric, "figure": show_figure, "moment": show_moment, "metric_name": title_of}
    return templates


def show_metric(value: float | None, name: str) -> str:
    """A metric for people: shares as a percentage, others as a figure."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.1%}" if name in BY_NAME and BY_NAME[name].is_share else show_figure(value)


def show_figure(value: float | None) -> str:
    """A number for people: four significant digits, thousands apart."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004 - from here on all four digits are whole
        return f"{value:,.0f}"
    return f"{value:.4g}"


def show_moment(text: str) -> str:
    """An ISO moment in UTC, to the minute."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
