"""Packs that are known to be damaged: nothing new is built on what they cannot give any more.

Most of a pack survives a bad sector. Only the frames that do not open are forgotten: what lay in them counts as new to
the next run and is stored again, under the same names where it is cut the same, so that earlier points heal as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jbackupd.catalog.database import Catalog, FramePlace
from jbackupd.model.errors import DamageError, KeyMissingError, StorageError
from jbackupd.model.ids import FrameId, ObjectName, TenantId
from jbackupd.vault.decoding import FrameDecoder, SessionKeys
from jbackupd.vault.store import ObjectStore


def forget_unsound(
    store: ObjectStore, catalog: Catalog, keys: SessionKeys, packs: Collection[ObjectName], *, tenant: TenantId
) -> int:
    """Make a catalog forget the frames of damaged packs that do not open; return how many. Reads these packs once.

    Args:
        catalog: Reconciled with the vault.
        keys: A pack whose key is not at hand is left as it is: nothing new is built on it anyway.
    """
    decoder = FrameDecoder(store, keys, tenant=tenant)
    count = 0
    for pack in (catalog.packs().keys() & packs) - catalog.packs_with_lost_frames():
        lost = list(frames_that_do_not_open(catalog, decoder, pack))
        catalog.lose_frames(pack, lost)
        count += len(lost)
    return count


def frames_that_do_not_open(catalog: Catalog, decoder: FrameDecoder, pack: ObjectName) -> Iterator[FrameId]:
    """Yield the frames of a pack whose own bytes are damaged, whether or not their bases are."""
    indexed = catalog.indexed_pack(pack)
    for slot, record in enumerate(indexed.frames):
        try:
            decoder.check(FramePlace(pack, indexed.session_id, slot, record))
        except KeyMissingError:
            return
        except (DamageError, StorageError):
            yield record.id
