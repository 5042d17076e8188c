"""The commands that the README shows, but for those that `make` runs, work as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playing import ROOT, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\n?)+", README, re.MULTILINE)
# `make test` has run these by themselves before it runs any test.
MADE = {
    line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" > /dev/null")
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
}
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if ".venv/bin/" in line]
COMMANDS = [command for command in COMMANDS if command not in MADE]
SNIPPET = next(block for block in BLOCKS if "import" in block)


def test_the_readme_shows_commands() -> None:
    assert len([command for command in COMMANDS if "ml-assets" in command]) >= 5


def test_every_command_works_in_the_order_of_the_page_and_then_the_lake_is_read_as_it_shows(
    tmp_path: Path, data: Path
) -> None:
    home = tmp_path / ".ml_assets"
    for command in COMMANDS:
        words = command.split()
        # The environment of this test stands for the one that make sets up.
        program = Path(sys.executable).parent / words[0].removeprefix(".venv/bin/")
        done = subprocess.run(
            [str(program), *words[1:]],
            cwd=ROOT,
            env=environment(home, data),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    code = "\n".join(line.removeprefix("    ") for line in SNIPPET.splitlines())
    command, env = [sys.executable, "-c", code], environment(home, data)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mape" in done.stdout
