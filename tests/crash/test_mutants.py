"""The rig sees every bug of the past that can be put into our code."""

from pathlib import Path

import pytest

from tests.crash.mutants import MUTANTS, Mutant
from tests.crash.reading_mutants import READING_MUTANTS

ALL = (*MUTANTS, *READING_MUTANTS)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_historical_bug_is_seen(mutant: Mutant) -> None:
    score = mutant.score(enough=1)
    print(f"{mutant.name} ({mutant.history}): seen after {score.states} states: {score.first}")
    assert score.violations > 0


def test_taking_a_bug_back_leaves_the_code_correct() -> None:
    assert MUTANTS[0].score(enough=1).violations > 0
    clean = Mutant("none", "", MUTANTS[0].scenario, lambda patch: None)
    assert clean.score().violations == 0


def test_the_published_table_names_every_bug_and_whose_it_was() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating" / "reliability.md").read_text()
    lines = [line.strip("| ") for line in page.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    told = {row[0]: row[1] for row in rows if len(row) > 1}
    assert {mutant.name: mutant.history for mutant in ALL}.items() <= told.items()
