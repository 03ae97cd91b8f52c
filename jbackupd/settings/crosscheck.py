"""What no single value shows: names that must be known, and names that must differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from jbackupd.model.units import duration_text
from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.schema import FilesSource, Settings
from jbackupd.settings.suggest import nearest

PlaceOf = Callable[[KeyPath], Place]


def cross_problems(settings: Settings, place: PlaceOf) -> Iterator[Problem]:
    """Yield every contradiction between tables that are fine by themselves."""
    for path, wrong in _contradictions(settings, place):
        yield Problem(place(path), path, wrong)


def _contradictions(settings: Settings, place: PlaceOf) -> Iterator[tuple[KeyPath, WrongError]]:
    for table, ids in (
        ("tenant", [tenant.id for tenant in settings.tenants]),
        ("dataset", [str(dataset.id) for dataset in settings.datasets]),
        ("peer", [peer.id for peer in settings.peers]),
        ("officer", [officer.id for officer in settings.officers]),
    ):
        yield from _written_twice(table, ids, place)
    yield from _unknown_names(settings)
    yield from _same_last_components(settings)
    yield from _own_names(settings)
    yield from _bounds(settings)
    wanted, count = settings.approval.declare_lost, len(settings.officers)
    if 0 < count < wanted:
        yield (
            ("approval", "declare_lost"),
            WrongError(
                "{wanted} approvals are wanted of {count} officers", "add an [[officer]]", wanted=wanted, count=count
            ),
        )


def _written_twice(
    table: str, ids: Iterable[str], place: PlaceOf
) -> Iterator[tuple[KeyPath, WrongError]]:
    first: dict[str, int] = {}
    for index, name in enumerate(ids):
        if name in first:
            yield (
                (table, index, "id"),
                WrongError(
                    "{text!r} is already written at {other}", "keep one of the two, or give it another id",
                    text=name, other=place((table, first[name], "id")),
                ),
            )
        first.setdefault(name, index)


def _unknown_names(settings: Settings) -> Iterator[tuple[KeyPath, WrongError]]:
    tenants = [tenant.id for tenant in settings.tenants]
    peers = [peer.id for peer in settings.peers]
    for index, dataset in enumerate(settings.datasets):
        if dataset.id.tenant not in tenants:
            yield ("dataset", index, "id"), _unknown(dataset.id.tenant, "tenant", tenants)
        for position, peer in enumerate(dataset.peers or ()):
            if peer not in peers:
                yield ("dataset", index, "peers", position), _unknown(peer, "peer", peers)


def _unknown(name: str, table: str, known: Iterable[str]) -> WrongError:
    meant = nearest(name, known)
    return WrongError(
        "there is no [[{table}]] with the id {text!r}",
        "did you mean {meant!r}?" if meant else "add a [[{table}]] with this id",
        table=table, text=name, meant=meant,
    )


def _same_last_components(settings: Settings) -> Iterator[tuple[KeyPath, WrongError]]:
    """Find paths of one dataset that would lie under the same name in its points."""
    for index, dataset in enumerate(settings.datasets):
        seen: dict[str, str] = {}
        for position, path in enumerate(dataset.source.paths if isinstance(dataset.source, FilesSource) else ()):
            name = os.path.basename(path)
            if name in seen:
                wrong = WrongError("ends in the same name as {other}", "make a dataset of each", other=seen[name])
                yield ("dataset", index, "source", "paths", position), wrong
            seen.setdefault(name, path)


def _own_names(settings: Settings) -> Iterator[tuple[KeyPath, WrongError]]:
    own = {tenant.id for tenant in settings.tenants}
    for index, peer in enumerate(settings.peers):
        if peer.id == settings.site.id:
            wrong = WrongError("{text!r} is this site itself", "name the other site", text=peer.id)
            yield ("peer", index, "id"), wrong
        for position, tenant in enumerate(peer.holds):
            if tenant in own:
                wrong = WrongError(
                    "{text!r} is a tenant of this site itself", "remove it here, or remove the [[tenant]]", text=tenant
                )
                yield ("peer", index, "holds", position), wrong


def _bounds(settings: Settings) -> Iterator[tuple[KeyPath, WrongError]]:
    for index, dataset in enumerate(settings.datasets):
        least, most = dataset.retention.min_age, dataset.retention.max_age
        if least is not None and most is not None and least >= most:
            wrong = WrongError(
                "no point could be kept and removed by both: max_age is {most}, min_age {least}",
                "make max_age the longer one", most=duration_text(most), least=duration_text(least),
            )
            yield ("dataset", index, "retention", "max_age"), wrong
