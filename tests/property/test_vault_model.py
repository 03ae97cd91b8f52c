"""A vault against a dictionary: whatever is done in any order, a point is what the folder was, or was given up.

The vault lies on the file system that forgets (tests/crash): backups are killed at any call, the power goes at any
call and takes back any of what was not synced, the catalog is lost, kept from before, or rebuilt. The model is a
dictionary of what the folder was when each point was taken, and a set of what was given up.

No rule has a precondition: names in a vault are random, so a kill at the tenth call does not hit the same place twice,
and hypothesis must be able to draw the same story again.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jbackupd.engine.reclaim import expire, forget, remove, settle_for_reclaim
from jbackupd.engine.reclaimplan import find_garbage
from jbackupd.engine.repack import plan_repacks, repack, survey_usage
from jbackupd.engine.verify import verify_content, verify_objects
from jbackupd.format.expiry import RemovedPoint
from jbackupd.model.errors import RemovedError
from jbackupd.model.ids import PointSelector
from jbackupd.vault.commit import Authorship
from jbackupd.vault.expiry import removed_points
from jbackupd.vault.rebuild import rebuild
from jbackupd.vault.vault import StoredPoint
from tests.crash.keys import opened_with, started
from tests.crash.local_backup import DATASET, SAGA, START, TENANT, init, restored, signer, small_packs
from tests.crash.memory import Call, Killed, MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import crash_states, folder_of, key_of
from tests.support.onesite import MemorySource

Content = dict[bytes, bytes]
PATHS = st.sampled_from([b"juki.csv", b"d/a", b"d/\xff", b"e"])
AUTHOR = Authorship(SAGA, 1, signer())


def written(seed: int) -> bytes:
    """Return a file's content: rows of which a few differ between seeds, something new, or nothing."""
    if seed % 7 == 0:
        return b""
    chance = random.Random(seed)
    if seed % 3 == 0:
        return chance.randbytes(9_000)
    rows = [b"%05d,%06d\n" % (row, random.Random(row).randrange(10**6)) for row in range(600)]
    for row in chance.sample(range(len(rows)), 12):
        rows[row] = b"%05d,changed %d\n" % (row, seed)
    return b"".join(rows)


class VaultModel(RuleBasedStateMachine):
    """Does things to a vault and to a dictionary."""

    @initialize()
    def found(self) -> None:
        self.files = MemoryFiles()
        self.seed = init(self.files)
        self.town = started(self.files, catalog_of(None))
        self.folder: Content = {b"juki.csv": written(1), b"d/a": written(3)}
        self.times: dict[bytes, int] = dict.fromkeys(self.folder, 1)
        self.clock = 1
        self.taken: list[Content] = []
        self.given_up: set[int] = set()

    # --- the folder ------------------------------------------------------------------------------

    @rule(path=PATHS, seed=st.integers(1, 60))
    def write(self, path: bytes, seed: int) -> None:
        self.clock += 1
        self.folder[path], self.times[path] = written(seed), self.clock

    @rule(at=st.integers(0, 3))
    def delete(self, at: int) -> None:
        for path in sorted(self.folder)[at : at + 1]:
            del self.folder[path], self.times[path]

    # --- points ----------------------------------------------------------------------------------

    @rule(path=PATHS, seed=st.integers(1, 60), many_packs=st.booleans())
    def change_and_take(self, path: bytes, seed: int, many_packs: bool) -> None:
        self.write(path, seed)
        self.take(many_packs)

    @rule(many_packs=st.booleans())
    def take(self, many_packs: bool) -> None:
        with small_packs() if many_packs else contextlib.nullcontext():
            self.town.backup(self._source())
        self.taken.append(dict(self.folder))

    @rule(call=st.integers(1, 45), old_catalog=st.booleans())
    def take_and_be_killed(self, call: int, old_catalog: bool) -> None:
        before = self._catalog_image()
        with self._killed(call):
            self.town.backup(self._source())
        self._start(self.files.restarted(), before if old_catalog else self._catalog_image())
        self._learn_of_an_unfinished_point()

    @rule(call=st.integers(1, 45), pick=st.integers(0, 999), catalog=st.sampled_from(["old", "new", "lost"]))
    def take_and_lose_power(self, call: int, pick: int, catalog: str) -> None:
        # All that was done before is taken as durable: what was acknowledged must be, tests/crash looks at the rest.
        start = key_of(self.files.root)
        self._start(MemoryFiles(folder_of(start)), self._catalog_image())
        images = {"old": self._catalog_image(), "lost": None}
        with self._killed(call):
            self.town.backup(self._source())
        images["new"] = self._catalog_image()
        last = len(self.files.log)
        states = list(crash_states(folder_of(start), self.files.log, subsets_max=4, positions=range(last, last + 1)))
        self._start(MemoryFiles(states[pick % len(states)].disk()), images[catalog])
        self._learn_of_an_unfinished_point()

    @rule(at=st.integers(0, 8))
    def restore(self, at: int) -> None:
        for point in self._points()[at : at + 1]:
            self._check_point(point)

    # --- catalog and keys ------------------------------------------------------------------------

    @rule()
    def rebuild_catalog(self) -> None:
        rebuild(self.town.store, self.town.vault.catalog, self.town.keyring, tenant=TENANT)

    @rule()
    def lose_catalog(self) -> None:
        self._start(self.files, None)

    @rule()
    def rotate(self) -> None:
        self.town.keyring.rotate(self._now())
        self.town.keyring.settle(self.town.store)

    @rule(at=st.integers(0, 8))
    def restore_with_shares(self, at: int) -> None:
        vault = opened_with(self.seed, self.town)
        for point in vault.points.chain(DATASET)[at : at + 1]:
            if point.header.sequence not in self.given_up:
                assert restored(vault, point) == self.taken[point.header.sequence - 1]

    # --- reclaim ---------------------------------------------------------------------------------

    @rule(which=st.integers(1, 2**12))
    def give_up(self, which: int) -> None:
        # The newest point is never given up: policy.retention keeps it.
        lost = {number for number in range(1, len(self.taken)) if which >> number % 12 & 1} - self.given_up
        chain = self._points()
        expire(
            self.town.store, TENANT, [RemovedPoint(DATASET, n, chain[n - 1].name, "not-kept") for n in sorted(lost)],
            author=AUTHOR, now=self._now(),
        )
        self.given_up |= lost

    @rule(call=st.integers(1, 60))
    def sweep(self, call: int) -> None:
        with self._killed(call):
            self._sweep()
        self._start(self.files.restarted(), self._catalog_image())
        self._sweep()

    @rule(below=st.sampled_from([0.5, 0.99]), call=st.integers(1, 60))
    def write_packs_anew(self, below: float, call: int) -> None:
        vault = self.town.vault
        with self._killed(call):
            usage = survey_usage(vault)
            planned = plan_repacks(vault, usage, below=below)
            _, damaged = repack(vault, planned, usage, keyring=self.town.keyring, author=AUTHOR, now=self._now())
            assert damaged == []
        self._start(self.files.restarted(), self._catalog_image())

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def as_many_points_as_were_taken(self) -> None:
        if hasattr(self, "town"):
            assert [p.header.sequence for p in self._points()] == list(range(1, len(self.taken) + 1))
            stated = removed_points(self.town.store)
            assert {p.header.sequence for p in self._points() if p.name in stated} == self.given_up

    @rule()
    def verify(self) -> None:
        chain = self._points()
        report = verify_objects(self.town.store, self.town.vault.points)
        verify_content(self.town.vault, chain, report)
        assert (report.findings, report.closed_points, report.erased_points) == ([], [], [])

    def teardown(self) -> None:
        """At the end of every story: the next point is taken, nothing is damaged, all that is kept restores."""
        if not hasattr(self, "town"):
            return
        self.take(many_packs=False)
        self.verify()
        for point in self._points():
            self._check_point(point)

    # --- inside ----------------------------------------------------------------------------------

    def _source(self) -> MemorySource:
        return MemorySource(dict(self.folder), times=dict(self.times))

    def _now(self):
        self.clock += 1
        return START + timedelta(days=400, minutes=self.clock)

    def _points(self) -> list[StoredPoint]:
        return list(self.town.vault.points.chain(DATASET))

    def _check_point(self, point: StoredPoint) -> None:
        sequence = point.header.sequence
        if sequence in self.given_up:
            with pytest.raises(RemovedError):
                self.town.vault.points.find(PointSelector(DATASET, sequence))
        else:
            assert restored(self.town.vault, point) == self.taken[sequence - 1]

    def _learn_of_an_unfinished_point(self) -> None:
        """Nobody was told of the point of a killed backup: it is there, whole, or it is not."""
        if len(self._points()) == len(self.taken) + 1:
            self.taken.append(dict(self.folder))
            self._check_point(self._points()[-1])

    def _start(self, files: MemoryFiles, image: bytes | None) -> None:
        self.files = files
        self.town = started(files, catalog_of(image))

    def _catalog_image(self) -> bytes:
        return self.town.vault.catalog._connection.serialize()

    @contextlib.contextmanager
    def _killed(self, call: int) -> Iterator[None]:
        """Kill the process at a call; one that ends before runs to its end, and is killed then."""
        first = self.files.calls

        def fault(made: Call) -> None:
            if made.number - first == call:
                raise Killed

        self.files.fault = fault
        with contextlib.suppress(Killed):
            yield
        self.files.fault = None

    def _sweep(self) -> None:
        store, points = self.town.store, self.town.vault.points
        settle_for_reclaim(store)
        garbage = find_garbage(store, points, points.verifiers)
        forget(self.town.vault.catalog, garbage)
        remove(store, garbage)


TestVaultModel = VaultModel.TestCase
TestVaultModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.mark.soak
def test_a_vault_is_a_dictionary_for_long() -> None:
    run_state_machine_as_test(VaultModel, settings=settings(max_examples=2000, stateful_step_count=40, deadline=None))
