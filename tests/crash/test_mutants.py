"""The rig sees every bug of the past that can be put into our code."""

import pytest

from tests.crash.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_historical_bug_is_seen(mutant: Mutant) -> None:
    score = mutant.score(enough=1)
    print(f"{mutant.name} ({mutant.history}): seen after {score.states} states: {score.first}")
    assert score.violations > 0


def test_taking_a_bug_back_leaves_the_code_correct() -> None:
    assert MUTANTS[0].score(enough=1).violations > 0
    clean = Mutant("none", "", MUTANTS[0].scenario, lambda patch: None)
    assert clean.score().violations == 0
