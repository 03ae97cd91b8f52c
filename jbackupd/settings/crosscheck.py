"""What no single value shows: names that must be known, and names that must differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from jbackupd.settings.lines import KeyPath
from jbackupd.settings.problem import Place, Problem, key_text
from jbackupd.settings.schema import Settings
from jbackupd.settings.suggest import nearest

PlaceOf = Callable[[KeyPath], Place]


def cross_problems(settings: Settings, place: PlaceOf) -> Iterator[Problem]:
    """Yield every contradiction between tables that are fine by themselves."""
    for table, ids in (
        ("tenant", [tenant.id for tenant in settings.tenants]),
        ("dataset", [str(dataset.id) for dataset in settings.datasets]),
        ("peer", [peer.id for peer in settings.peers]),
        ("officer", [officer.id for officer in settings.officers]),
    ):
        yield from _twice(table, ids, place)
    yield from _unknown_names(settings, place)
    yield from _impossible(settings, place)


def _twice(table: str, ids: Iterable[str], place: PlaceOf) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(ids):
        path: KeyPath = (table, index, "id")
        if name in first:
            other = place((table, first[name], "id"))
            fields: dict[str, object] = {"text": name, "other": other}
            yield Problem(place(path), key_text(path), "{text!r} is already written at {other}",
                          "keep one of the two, or give it another id", fields)
        first.setdefault(name, index)


def _unknown_names(settings: Settings, place: PlaceOf) -> Iterator[Problem]:
    tenants = [tenant.id for tenant in settings.tenants]
    peers = [peer.id for peer in settings.peers]
    for index, dataset in enumerate(settings.datasets):
        if dataset.id.tenant not in tenants:
            yield _unknown(("dataset", index, "id"), dataset.id.tenant, "tenant", tenants, place)
        for position, peer in enumerate(dataset.peers or ()):
            if peer not in peers:
                yield _unknown(("dataset", index, "peers", position), peer, "peer", peers, place)


def _unknown(path: KeyPath, name: str, table: str, known: Iterable[str], place: PlaceOf) -> Problem:
    meant = nearest(name, known)
    hint = "did you mean {meant!r}?" if meant else "add a [[{table}]] with this id"
    fields: dict[str, object] = {"text": name, "table": table, "meant": meant}
    return Problem(place(path), key_text(path), "there is no [[{table}]] with the id {text!r}", hint, fields)


def _impossible(settings: Settings, place: PlaceOf) -> Iterator[Problem]:
    own = {tenant.id for tenant in settings.tenants}
    for index, peer in enumerate(settings.peers):
        if peer.id == settings.site.id:
            path: KeyPath = ("peer", index, "id")
            yield Problem(place(path), key_text(path), "{text!r} is this site itself", "name the other site",
                          {"text": peer.id})
        for position, tenant in enumerate(peer.holds):
            if tenant in own:
                path = ("peer", index, "holds", position)
                yield Problem(place(path), key_text(path), "{text!r} is a tenant of this site itself",
                              "remove it here, or remove the [[tenant]]", {"text": tenant})
    wanted = settings.approval.declare_lost
    if settings.officers and len(settings.officers) < wanted:
        path = ("approval", "declare_lost")
        yield Problem(place(path), key_text(path), "{wanted} approvals are wanted of {count} officers",
                      "add an [[officer]]", {"wanted": wanted, "count": len(settings.officers)})
