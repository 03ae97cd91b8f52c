"""The README is true: its configuration and commands, run as they stand there, in both languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_first_restore_works_as_written(tmp_path: Path, name: str) -> None:
    text = (ROOT / name).read_text()
    [configuration] = blocks(text, "toml")
    assert len(configuration.splitlines()) <= 12
    (tmp_path / "jbackupd.toml").write_text(configuration)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "住民.csv").write_text("1,佐賀\n")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    first, rescue = blocks(text, "sh")
    assert len(first.splitlines()) == 5
    for line in (*first.splitlines(), *rescue.splitlines()):
        done = subprocess.run(line.split(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "rescued" / "住民.csv").read_text() == "1,佐賀\n"


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_every_linked_page_is_there(name: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
        assert (ROOT / link).exists(), link
