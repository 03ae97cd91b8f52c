"""What waits for the end of a restore comes back in either order, and lies nameless in the target once it is much."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.restore import spool
from jbackupd.storage.beneath import Beneath


@pytest.mark.parametrize("memory_bytes", [1, 500, 1 << 20])
def test_entries_come_back_forward_and_backward(
    tmp_path: Path, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MEMORY_BYTES", memory_bytes)
    entries = [
        TreeEntry(
            b"\xff" * (number % 7 + 1), EntryType.SYMLINK if number % 2 else EntryType.FOLDER, number % 0o7777,
            number, (1 << 32) - 1 - number, moment, target=b"t" * number if number % 2 else b"",
        )
        for number, moment in enumerate([-(1 << 63), (1 << 64) - 1, 0, -1, *range(50)])
    ]
    with closing(Beneath(str(tmp_path))) as beneath, closing(spool.Spool(beneath)) as kept:
        assert list(kept.forward()) == list(kept.backward()) == []
        for entry in entries:
            kept.add(entry)
        assert (list(kept.forward()), list(kept.backward())) == (entries, entries[::-1])
        assert os.listdir(tmp_path) == []
        assert len(kept) == len(entries)
