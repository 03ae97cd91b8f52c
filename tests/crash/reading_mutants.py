"""More bugs by which data was really lost: errors that are swallowed, and readers that do not look.

They need no power cut to show. Some need a call that fails, others a flipped bit; so they bring sweeps of their own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jbackupd.codec.hashing import name_of
from jbackupd.engine.verify import verify_objects
from jbackupd.model.errors import DamageError, IdentityError, KeyringError, NoSpaceError, StorageError
from jbackupd.model.ids import ObjectKind, ObjectName
from jbackupd.storage.durable import rename_durably
from jbackupd.storage.files import Files
from jbackupd.vault.decoding import FrameDecoder
from jbackupd.vault.keyring import Keyring
from jbackupd.vault.store import ObjectStore
from tests.crash.local_backup import LOCAL_KEY, TENANT, LocalBackup, vault_of
from tests.crash.memory import FULL, MemoryFiles
from tests.crash.mutants import Mutant, _write, _writing
from tests.crash.reclaim import Reclaim
from tests.crash.rig import Score, fail_everywhere
from tests.faults.test_bit_flips import CONTENTS, SmallVault

EVERY = 7
"""One byte of so many is flipped; a reader that does not look misses all of them."""


class Bits:
    """No scenario of the rig: a small vault whose bits are flipped."""

    def prepare(self) -> None:
        """Nothing is to be prepared."""


def failing(error: int, verbs: Sequence[str] | frozenset[str], **options: Any) -> Callable[..., Score]:
    """Return a sweep: every call of these verbs fails once."""

    def sweep(scenario: Any, *, enough: int = 0) -> Score:
        return fail_everywhere(scenario, error, verbs=frozenset(verbs), **options)

    return sweep


def restored_under_flips(_: Bits, *, enough: int = 0) -> Score:
    """Flip bits of packs; a violation is a restore that hands out something else as right."""
    score, vault = Score(), SmallVault()
    for ref in (ref for ref in vault.refs if ref.kind is ObjectKind.PACK):
        for number, bit in enumerate(vault.flips(ref, one_per_byte=True)):
            if number % EVERY:
                continue
            score.states += 1
            score.checked += 1
            try:
                assert vault.restore_by_owner() == list(CONTENTS), "wrong bytes were handed out as right"
            except (DamageError, IdentityError, KeyringError):
                continue
            except AssertionError as error:
                score.note(error, f"bit {bit} of {ref}")
    return score


def verified_under_flips(_: Bits, *, enough: int = 0) -> Score:
    """Flip bits of every object; a violation is a verify that finds nothing."""
    score, vault = Score(), SmallVault()
    keyring = Keyring.open(vault.files, TENANT, local_key=LOCAL_KEY)
    for ref in vault.refs:
        for number, bit in enumerate(vault.flips(ref, one_per_byte=True)):
            if number % (40 * EVERY):
                continue
            score.states += 1
            score.checked += 1
            points = vault_of(vault.store, vault.catalog, keyring).points
            if not verify_objects(vault.store, points).findings:
                score.note(AssertionError("verify found nothing"), f"bit {bit} of {ref}")
    return score


def _sync_tried_again(files: Files, path: str, data: bytes, *, temporary: str) -> None:
    handle = _write(files, data, temporary)
    try:
        handle.sync()
    except StorageError:
        handle.sync()
    handle.close()
    rename_durably(files, temporary, path)


def _full_disk_is_a_warning(patch: pytest.MonkeyPatch) -> None:
    put = ObjectStore.put

    def lenient(self: ObjectStore, kind: ObjectKind, data: bytes) -> ObjectName:
        try:
            return put(self, kind, data)
        except NoSpaceError:
            if kind is not ObjectKind.PACK:
                raise
            return name_of(data)

    patch.setattr(ObjectStore, "put", lenient)


def _failed_listing_is_empty(patch: pytest.MonkeyPatch) -> None:
    names = MemoryFiles.names

    def lenient(self: MemoryFiles, path: str) -> list[str]:
        try:
            return names(self, path)
        except StorageError:
            return []

    patch.setattr(MemoryFiles, "names", lenient)


def _damage_is_filled_with_zeros(patch: pytest.MonkeyPatch) -> None:
    decode = FrameDecoder.decode

    def lenient(self: FrameDecoder, place: Any, prefix: Any, load: Any) -> bytes:
        try:
            return decode(self, place, prefix, load)
        except DamageError:
            return bytes(place.record.plain_length)

    patch.setattr(FrameDecoder, "decode", lenient)


def _verify_trusts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ObjectStore, "read_checked", lambda self, ref: self.read(ref))


READING_MUTANTS = (
    Mutant("a failed sync tried again, and believed", "PostgreSQL 2018 (fsyncgate)", LocalBackup,
           _writing(_sync_tried_again, "packs"), failing(errno.EIO, ["sync"], every=3)),
    Mutant("a full disk becomes a warning", "borg 2.0.0b21", LocalBackup, _full_disk_is_a_warning,
           failing(errno.ENOSPC, FULL, cut=False, every=6)),
    Mutant("a listing that failed is an empty one", "restic #4612", Reclaim, _failed_listing_is_empty,
           failing(errno.EIO, ["list"], cut=False, same_process=False)),
    Mutant("damaged frames are filled with zeros", "borg 1.1 extract", Bits, _damage_is_filled_with_zeros,
           restored_under_flips),
    Mutant("verify believes what it has not read", "Duplicacy 6841c98", Bits, _verify_trusts, verified_under_flips),
)
