"""What made a model: the record from which it can be made again, and hashes of all that it does not hold itself."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.lake.tables import PARTITION
from ml_assets.project import declared, digest
from ml_assets.schemas import source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from ml_assets.project import Project

# What `features` is made from; its own rows are hashed with the training set.
BEFORE = ("raw", "validated")


def hashes(project: Project) -> dict[str, str]:
    """Hashes of what made a version: declaration, SQL, schema, the lock and our own code; and the git commit."""
    found = {
        "declaration": project.declaration_hash,
        "sql": project.sql_hash,
        "schema": digest(source_of(project.schema)),
        "code": code_hash(),
    }
    lock = settings.project_root() / "requirements.txt"
    if lock.is_file():
        found["lock"] = digest(lock.read_text(encoding="utf-8"))
    commit = git_commit(settings.project_root())
    return found | ({"git": commit} if commit else {})


def sources(project: Project) -> dict[str, Any]:
    """The texts that a version was declared with: what stands in files today may be another tomorrow.

    Nothing of where rows come from, which may name what is secret: a rebuild begins at `raw`.
    """
    return {
        "clean_sql": project.clean_sql,
        "features_sql": project.features_sql,
        "schema_source": source_of(project.schema),
        "declaration": declared(project),
    }


def environment() -> dict[str, str]:
    """What the last bits of a sum may hang on: Python, the machine, and the library that multiplies matrices."""
    import scipy.linalg  # noqa: F401, PLC0415 - brings a library of its own, known only once it is loaded
    from threadpoolctl import threadpool_info  # noqa: PLC0415

    blas = {
        f"{one['internal_api']} {one['version']} {one.get('architecture', '')}".strip()
        for one in threadpool_info()
        if one["user_api"] == "blas"
    }
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "blas": ", ".join(sorted(blas)),
    }


def contents(cursor: duckdb.DuckDBPyConnection, project: Project, keys: Sequence[str], snapshot: int) -> dict[str, str]:
    """What some partitions hold in the tables before `features`: rows, and the sum of their hashes, whatever the order.

    DuckDB's hash of a row, not a cryptographic one: it costs a tenth, and tells change, not forgery.
    """
    starts = ", ".join(f"TIMESTAMP '{project.start_of(key)}'" for key in keys)
    found = {}
    for name in BEFORE:
        table = f"(FROM {project.table(name).at(snapshot)} WHERE {PARTITION} IN ({starts}))"
        ((rows, total),) = cursor.execute(f"SELECT count(*), coalesce(sum(hash(t)), 0) FROM {table} AS t").fetchall()
        found[name] = f"{rows} rows, {total}"
    return found


@cache
def code_hash() -> str:
    """SHA-256 over the platform's own code, without the projects that are shipped with it."""
    root = Path(settings.__file__).parent
    files = sorted(file.relative_to(root) for file in root.rglob("*.py"))
    return digest(
        *(f"{file}\n{(root / file).read_text(encoding='utf-8')}" for file in files if file.parts[0] != "defs")
    )


def modules_hash(names: Iterable[str]) -> str:
    """SHA-256 over the code of packages of a project's own, found without importing them.

    Args:
        names: of modules: the whole package that holds each is read, since they import each other. One that is not
            there counts as empty: whatever needs it says so.
    """
    texts = []
    for package in sorted({name.partition(".")[0] for name in names} - {""}):
        spec = find_spec(package)
        folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
        if spec and spec.origin and spec.has_location and not folders:
            texts.append(f"{package}\n{Path(spec.origin).read_text(encoding='latin-1')}")
        for folder in folders:
            files = sorted(folder.rglob("*.py"))
            texts += [f"{package}/{file.relative_to(folder)}\n{file.read_text(encoding='latin-1')}" for file in files]
    return digest(*texts)


@cache
def git_commit(folder: Path) -> str:
    """The commit that is checked out, with `+changes` where files differ from it; "" outside a repository."""
    if not (folder / ".git").exists():
        return ""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]  # fixed words, no shell
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain", "--untracked-files=no") else commit
