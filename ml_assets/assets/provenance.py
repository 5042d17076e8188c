"""What code made a model: hashes of everything that a version was declared and built with."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path  # noqa: TC003 - functools.cache keeps the signature
from typing import TYPE_CHECKING

from ml_assets import settings
from ml_assets.project import digest
from ml_assets.schemas import source_of

if TYPE_CHECKING:
    from ml_assets.project import Project


def hashes(project: Project) -> dict[str, str]:
    """What code made a version: hashes of the declaration, the SQL, the schema and the lock, and the git commit."""
    found = {
        "declaration": project.declaration_hash,
        "sql": project.sql_hash,
        "schema": digest(source_of(project.schema)),
    }
    lock = settings.project_root() / "requirements.txt"
    if lock.is_file():
        found["lock"] = digest(lock.read_text(encoding="utf-8"))
    commit = git_commit(settings.project_root())
    return found | ({"git": commit} if commit else {})


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
