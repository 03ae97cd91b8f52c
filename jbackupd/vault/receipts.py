"""The receipts in a store: who has said what, by point."""

from __future__ import annotations

from collections.abc import Iterator

from jbackupd.format.receipt import Receipt, decode_receipt
from jbackupd.model.errors import FormatError
from jbackupd.model.ids import DatasetId, ObjectKind, ObjectName, ObjectRef, SiteId
from jbackupd.vault.store import ObjectStore


class ReceiptList:
    """Receipts of one store, read once each; a damaged one counts for nothing and is left to `verify` to name.

    Signatures are not checked here: they were when the receipt came in. Not for several threads at once.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[ObjectName, Receipt | None] = {}

    def all(self) -> Iterator[tuple[ObjectName, Receipt]]:
        """Yield each receipt with its name."""
        for name in self._store.names(ObjectKind.RECEIPT):
            if name not in self._read:
                self._read[name] = self._load(name)
            receipt = self._read[name]
            if receipt is not None:
                yield name, receipt

    def for_point(self, point: ObjectName) -> list[tuple[ObjectName, Receipt]]:
        """Return the receipts for a point."""
        return [(name, receipt) for name, receipt in self.all() if receipt.point == point]

    def newest(self, dataset: DatasetId, holder: SiteId) -> Receipt | None:
        """Return a holder's receipt with the highest sequence number."""
        found = [r for _, r in self.all() if r.dataset == dataset and r.holder == holder]
        return max(found, key=lambda receipt: receipt.sequence, default=None)

    def _load(self, name: ObjectName) -> Receipt | None:
        data = self._store.read(ObjectRef(ObjectKind.RECEIPT, name))
        try:
            return decode_receipt(data)
        except FormatError:
            return None
