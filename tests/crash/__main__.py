"""Prints the score table: python -m tests.crash."""

import time

from tests.crash.founding import Founding
from tests.crash.journals import Append, Audit, OpenSessions, RaiseEpochs
from tests.crash.keys import ChangeRecovery
from tests.crash.local_backup import LocalBackup
from tests.crash.mutants import MUTANTS
from tests.crash.reading_mutants import READING_MUTANTS
from tests.crash.reclaim import Reclaim
from tests.crash.recovery import Recovery
from tests.crash.repair import Repairing
from tests.crash.rig import Score, cut_everywhere, kill_everywhere, kill_then_cut
from tests.crash.transfer import Transfer


def row(name: str, history: str, score: Score, begun: float) -> None:
    seconds = time.monotonic() - begun
    print(f"| {name} | {history} | {score.states:,} | {score.checked:,} | {score.violations:,} | {seconds:.1f} |")


def main() -> None:
    print("| code | history | states | recoveries | violations | seconds |\n|---|---|---:|---:|---:|---:|")
    for scenario in (
        LocalBackup(0), LocalBackup(1), Transfer(0), Transfer(1), Recovery(), RaiseEpochs(), Audit(), OpenSessions(),
        Append(), Founding(), ChangeRecovery(), Reclaim(), Repairing(),
    ):
        for sweep in (cut_everywhere, kill_everywhere, kill_then_cut):
            begun = time.monotonic()
            row(f"ours: {scenario.name}, {sweep.__name__.replace('_', ' ')}", "", sweep(scenario), begun)
    for mutant in (*MUTANTS, *READING_MUTANTS):
        begun = time.monotonic()
        row(mutant.name, mutant.history, mutant.score(), begun)


main()
