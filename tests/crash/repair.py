"""Scenario: a damaged pack, a missing index and a point that is cut off are healed from another copy of the vault."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any

from jbackupd.catalog.database import Catalog
from jbackupd.engine.repair import find_broken, repair
from jbackupd.model.clock import ManualClock
from jbackupd.model.errors import NotFoundError
from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.service.repairing import note_healed
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore
from jbackupd.vault.vault import PointList
from tests.crash.local_backup import (
    DATASET,
    FOLDER,
    SAGA,
    START,
    Town,
    check_points,
    content,
    init,
    restored,
    signer,
    without_leftovers,
)
from tests.crash.memory import MemoryFiles
from tests.crash.rig import catalog_of
from tests.crash.states import Key, key_of

Copies = dict[ObjectRef, bytes]


class OtherCopy:
    """What another site has."""

    name = "kyoto"

    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    async def read(self, ref: ObjectRef) -> bytes:
        if ref not in self._copies:
            raise NotFoundError("not here")
        return self._copies[ref]


class Repairing:
    """Heals three objects."""

    name = "repair"
    uses_catalog = False
    in_order = False

    @functools.cached_property
    def _made(self) -> tuple[Key, Copies, tuple[ObjectRef, ...]]:
        files = MemoryFiles()
        init(files)
        town = Town(files, catalog_of(None))
        town.backup()
        town.backup()
        copies = {
            ref: town.store.read(ref)
            for kind in ObjectKind for name in town.store.names(kind) for ref in [ObjectRef(kind, name)]
        }
        newest = town.vault.points.chain(DATASET)[-1]
        pack, index = (
            min(ref for ref in newest.header.added if ref.kind is kind) for kind in (ObjectKind.PACK, ObjectKind.INDEX)
        )
        point = ObjectRef(ObjectKind.POINT, newest.name)
        for ref, data in ((pack, copies[pack][:-30] + bytes(30)), (point, copies[point][:100])):
            files.remove(town.store.path(ref))
            handle = files.create(town.store.path(ref))
            handle.write(data)
            handle.sync()
            handle.close()
        files.remove(town.store.path(index))
        soundness = Soundness(town.store)
        for ref in (pack, point, index):
            soundness.note(ref, START, 0, sound=False)
        soundness.save()
        town.store.settle_all()
        return key_of(files.root), copies, (pack, index, point)

    def prepare(self) -> Key:
        return self._made[0]

    def open(self, files: MemoryFiles, catalog: Catalog) -> Callable[[], None]:
        store = ObjectStore(files, FOLDER)
        store.clear_temporary()
        return functools.partial(self._work, files, store)

    def _work(self, files: MemoryFiles, store: ObjectStore) -> None:
        done = asyncio.run(
            repair(store, lambda: _broken(store), [OtherCopy(self._made[1])], offload=_at_once)
        )
        note_healed(store, done, ManualClock(START))
        files.mark("healed")

    def check(self, files: MemoryFiles, catalog: Catalog, facts: Sequence[object]) -> None:
        _state, copies, harmed = self._made
        store = ObjectStore(files, FOLDER)
        for ref, data in copies.items():
            if ref not in harmed:
                assert store.read(ref) == data, f"repair has touched {ref}"
            elif "healed" in facts:
                assert store.has(ref) and store.read(ref) == data, f"{ref} was healed, and is not"
        self.open(files, catalog)()
        town = Town(files, catalog)
        assert _broken(store) == []
        check_points(town.vault, [])
        assert restored(town.vault, town.vault.points.chain(DATASET)[0]) == content(1)

    def essence(self, key: Key) -> object:
        return without_leftovers(key)


def _broken(store: ObjectStore) -> Sequence[Any]:
    return find_broken(store, PointList(store, {SAGA: signer().public}), Soundness(store))


async def _at_once(function: Callable[..., Any], /, *arguments: Any) -> Any:
    return function(*arguments)
