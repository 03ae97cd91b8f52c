"""What a vault's records tell of its keys: recovery keys that followed one another, epochs that were erased.

What a record says explains why something does not open, and keeps officers from going on with shares of an earlier
recovery key. It never keeps anybody from reading.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.key import KeyObject, KeyRole
from jbackupd.format.keyrecord import Erasure, KeyRecord, RecoveryChange, decode_record, verify_record
from jbackupd.model.errors import FormatError, IdentityError, KeyMissingError
from jbackupd.model.ids import SiteId

Verifiers = Mapping[SiteId, SiteVerifier]


def records(keys: Iterable[KeyObject], verifiers: Verifiers | None = None) -> list[KeyRecord]:
    """Return the records among key objects, oldest first; those that are malformed are left out.

    Args:
        verifiers: Also leave out what none of these sites has signed; None where nobody's card is at hand.
    """
    found = []
    for key in keys:
        if key.role is KeyRole.RECORD:
            with contextlib.suppress(FormatError, IdentityError):
                found.append(_verified(decode_record(key), verifiers))
    return sorted(found, key=lambda record: record.made_at)


def _verified(record: KeyRecord, verifiers: Verifiers | None) -> KeyRecord:
    if verifiers:
        if record.site not in verifiers:
            raise IdentityError("a record of the keys was signed by a site that is not known here")
        verify_record(record, verifiers[record.site])
    return record


def recoveries(keys: Iterable[KeyObject], verifiers: Verifiers | None = None) -> list[KeyRecord]:
    """Return the records of new recovery keys among key objects, oldest first; see `records`."""
    found = [record for record in records(keys, verifiers) if isinstance(record.what, RecoveryChange)]
    return sorted(found, key=lambda record: recovery_change(record).number)


def erasures(keys: Iterable[KeyObject], verifiers: Verifiers | None = None) -> list[KeyRecord]:
    """Return the records of erased epochs among key objects, oldest first; see `records`."""
    return [record for record in records(keys, verifiers) if isinstance(record.what, Erasure)]


def recovery_change(record: KeyRecord) -> RecoveryChange:
    """Return what a record of a new recovery key says."""
    assert isinstance(record.what, RecoveryChange)
    return record.what


def erasure(record: KeyRecord) -> Erasure:
    """Return what a record of an erased epoch says."""
    assert isinstance(record.what, Erasure)
    return record.what


def superseded(record: KeyRecord) -> KeyMissingError:
    """Return what to tell who came with shares of an earlier recovery key.

    Args:
        record: Of the newest recovery key.
    """
    change = recovery_change(record)
    return KeyMissingError(
        "the shares are of an earlier recovery key: since {when} everything is sealed to another one",
        "use {threshold} shares of the set {set}; what is older may still open with these",
        when=record.made_at.date().isoformat(), threshold=change.threshold, set=change.set_id.hex(),
    )
