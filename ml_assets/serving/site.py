"""What every page needs: the declared projects, where their state is read from, and the templates."""

import logging
from dataclasses import dataclass
from datetime import datetime
from os.path import basename
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from ml_assets import settings
from ml_assets.core.showing import visible
from ml_assets.core.tasks import title_of
from ml_assets.lake.connection import Lake, LakeError
from ml_assets.lake.origin import origin_warning
from ml_assets.registry.models import Registry, home_registry
from ml_assets.serving import words
from ml_assets.serving.access.caller import CURRENT, Caller
from ml_assets.serving.numbers import name_numbers
from ml_assets.serving.queries import reading
from ml_assets.serving.reports import Reports
from ml_assets.serving.stories import because, title_of_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project

LOG = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
# The metrics that the table of versions shows; a version's evaluation holds more.
SHOWN = {
    "regression": ("mape", "rmse", "mae", "r2"),
    "binary": ("log_loss", "brier", "accuracy", "f1", "roc_auc"),
    "multiclass": ("log_loss", "accuracy", "f1_macro"),
}
# The pages of a project, in the order of its navigation: address under the project's, title, and the asset in Dagster
# that it is about; all of the project's where that is "".
SECTIONS = (
    ("", "Overview", ""), ("/partitions", "Partitions", "/predictions"), ("/drift", "Drift", "/drift"),
    ("/versions", "Versions", "/model"), ("/quarantine", "Quarantine", "/quarantine"),
    ("/exploration", "Exploration", "/exploration"), ("/replay", "Replay", "/replay"),
    ("/ledger", "Ledger", "/decision"), ("/lineage", "Lineage", "/raw"),
)  # fmt: skip


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

    def forms(self) -> "list[Project]":
        """The projects of which whoever asks may see the form to try the model, and nothing else."""
        caller = CURRENT.get()
        return [
            one
            for one in self.projects.values()
            if caller.may("predict", one.name) and not caller.may("look", one.name)
        ]

    def first_page(self, caller: Caller) -> str:
        """The address of the first page that somebody may see: the start page, or the form of their first project."""
        theirs = (one.name for one in self.projects.values() if caller.may("predict", one.name))
        first = None if caller.may("look") else next(theirs, None)
        return f"/try/{first}" if first else "/"

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

    def warnings_of(self, project: "Project") -> "list[str | None]":
        """What a page about a project must say of where its data come from."""
        with reading(self.lake) as cursor:
            return [origin_warning(cursor, project.name)] if cursor else []

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
        theirs = {"projects": self.shown(), "forms": self.forms(), "start": self.first_page(CURRENT.get())}
        text = self.templates.get_template(template).render(warnings=said, **theirs, **values)
        return HTMLResponse(text, status)

    def error(self, status: int, title: str, message: str, path: str = "") -> "HTMLResponse":
        """A page that says what is wrong and what there is instead: beside all projects, the pages of the one meant."""
        _, _, rest = path.partition("/projects/")
        meant = self.projects.get(rest.partition("/")[0])
        about = {"project": meant} if meant and self.is_shown(meant.name) else {}
        warnings = self._warnings()
        return self.page("error.html", warnings=warnings, status=status, title=title, message=message, **about)

    def _warnings(self) -> "list[str | None]":
        """What must be said of all projects shown; nothing where that cannot be read: it may be the very error told."""
        try:
            with reading(self.lake) as cursor:
                return [origin_warning(cursor, one.name) for one in self.shown()] if cursor else []
        except (duckdb.Error, LakeError, OSError):
            LOG.exception("the lake cannot be read: an error page does not say whose rows are simulated")
            return []


def build_site(projects: "Mapping[str, Project]") -> Site:
    """The site of this home folder."""
    home = settings.home()
    name_numbers()
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
    templates.globals |= {
        "shown_metrics": SHOWN, "project_sections": SECTIONS, "dagster": settings.dagster_url(), "who": CURRENT.get,
    }  # fmt: skip
    templates.filters |= {
        "metric": words.metric, "fine": words.fine, "figure": words.figure, "moment": words.moment,
        "counted": words.counted, "number": words.number, "cell": words.cell, "basename": basename,
        "capitalize_first": words.capitalized,
        "metric_name": title_of, "visible": visible, "told": title_of_entry, "because": because,
    }  # fmt: skip
    return templates
