"""The bare reader reads every golden vault in the tree, also one that is added without thinking of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jbackupd.cli.rescue import main as rescue
from tests.compat.test_golden import digests

ALL = Path(__file__).parent / "golden"


def expected(vault: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the points of a vault with their files, and those that nobody can read any more."""
    document: dict[str, Any] = json.loads((vault / "expected.json").read_text())
    if "points" not in document:
        return document, []
    return document["points"], document.get("lost", []) + document.get("removed", [])


def newest_shares(vault: Path) -> list[str]:
    shares = sorted(vault.glob("new-share*.txt")) or sorted(vault.glob("share*.txt"))
    return [word for share in shares[:2] for word in ("--share", str(share))]


POINTS = [(vault, point) for vault in sorted(ALL.iterdir()) for point in expected(vault)[0]]
GONE = [(vault, point) for vault in sorted(ALL.iterdir()) for point in expected(vault)[1]]


def name(item: object) -> str:
    return item.name if isinstance(item, Path) else str(item)


@pytest.mark.parametrize(("vault", "point"), POINTS, ids=name)
def test_the_bare_reader_reads_the_point(vault: Path, point: str, tmp_path: Path) -> None:
    arguments = [str(vault / "vaults" / "imari"), point, *newest_shares(vault)]
    assert rescue([*arguments, "--card", str(vault / "saga.card"), "--to", str(tmp_path / "out")]) == 0
    assert digests(tmp_path / "out") == expected(vault)[0][point]


@pytest.mark.parametrize(("vault", "point"), GONE, ids=name)
def test_the_bare_reader_gives_nothing_wrong_of_a_point_that_is_gone(vault: Path, point: str, tmp_path: Path) -> None:
    code = rescue([str(vault / "vaults" / "imari"), point, *newest_shares(vault), "--to", str(tmp_path / "out")])
    assert code in (4, 6, 10)
    assert not (tmp_path / "out").exists() or not any(files for _, _, files in os.walk(tmp_path / "out"))


def test_every_kind_of_golden_vault_is_there() -> None:
    assert {vault.name for vault in ALL.iterdir()} >= {"format1", "format1-keys", "format1-reclaimed"}
    assert len(GONE) > 3
