"""What new content may be encoded against: versions of large files, and sketches of small ones. Hints, all of it.

A version is a large file as the points `since` to `until` had it, with its anchors. Versions whose contents
resembled each other when they were new are of one *lineage*, whatever their paths: an export that bears the day
in its name is one lineage. Hooks (codec.cutting.sampled) lead from content to lineages. A sketch leads from the
smallest anchors of a small file to where it lies.

Lost with the catalog, they are found again as points are taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from jbackupd.catalog.database import Catalog, pack_extents, unpack_extents
from jbackupd.model.ids import FrameId
from jbackupd.model.records import Extent

_COLUMNS = "dataset, since, until, lineage, length, extents, anchors"
_ASKED_MAX = 500


@dataclass(frozen=True, slots=True)
class Version:
    """A large file as some successive points had it.

    Attributes:
        anchors: codec.cutting.Anchors as bytes.
    """

    dataset: str
    since: int
    until: int
    lineage: int
    length: int
    extents: tuple[Extent, ...]
    anchors: bytes


class VersionTable:
    """The versions and sketches in a catalog; safe for several threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def put(self, versions: Iterable[tuple[bytes, Version, Sequence[int]]]) -> None:
        """Remember versions: (path, version, hooks)."""
        with self._catalog.transaction() as connection:
            for path, v, hooks in versions:
                connection.execute(
                    f"INSERT INTO versions (path, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (path, v.dataset, v.since, v.until, v.lineage, v.length, pack_extents(v.extents), v.anchors),
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO hooks VALUES (?, ?)", ((hook, v.lineage) for hook in hooks)
                )

    def carry(self, dataset: str, paths: Iterable[bytes], sequence: int) -> None:
        """Remember that files are at a point what they were at the point before."""
        with self._catalog.transaction() as connection:
            connection.executemany(
                "UPDATE versions SET until = ? WHERE dataset = ? AND path = ? AND until = ?",
                ((sequence, dataset, path, sequence - 1) for path in paths),
            )

    def find(self, dataset: str, path: bytes, sequence: int) -> Version | None:
        """Return a file as a point had it."""
        found = self._select(
            "dataset = ? AND path = ? AND since <= ? AND until >= ? LIMIT 1", (dataset, path, sequence, sequence)
        )
        return found[0] if found else None

    def find_in_lineage(self, lineage: int, dataset: str, sequence: int) -> Version | None:
        """Return a version of a lineage: as a point of a dataset had it, else its newest."""
        best_first = "(dataset = ? AND since <= ? AND until >= ?) DESC, dataset = ? DESC, until DESC"
        found = self._select(
            f"lineage = ? ORDER BY {best_first} LIMIT 1", (lineage, dataset, sequence, sequence, dataset)
        )
        return found[0] if found else None

    def lineage_of(self, dataset: str, path: bytes) -> int | None:
        """Return the lineage of a file's newest version."""
        with self._catalog.reading() as connection:
            row = connection.execute(
                "SELECT lineage FROM versions WHERE dataset = ? AND path = ? ORDER BY until DESC LIMIT 1",
                (dataset, path),
            ).fetchone()
        return None if row is None else int(row[0])

    def lineages_like(self, hooks: Sequence[int], count: int) -> list[int]:
        """Return the lineages that have most of these hooks, best first; one hook is enough."""
        asked = hooks[:_ASKED_MAX]
        with self._catalog.reading() as connection:
            rows = connection.execute(
                f"SELECT lineage FROM hooks WHERE hash IN ({_marks(asked)}) GROUP BY lineage "
                "ORDER BY count(*) DESC, lineage LIMIT ?", (*asked, count),
            ).fetchall()
        return [lineage for (lineage,) in rows]

    def keep(self, dataset: str, sequences: Collection[int]) -> None:
        """Forget the versions of a dataset that no later point will be encoded against."""
        kept = " OR ".join("(since <= ? AND until >= ?)" for _ in sequences)
        with self._catalog.transaction() as connection:
            connection.execute(
                f"DELETE FROM versions WHERE dataset = ? AND NOT ({kept})",
                (dataset, *(sequence for one in sequences for sequence in (one, one))),
            )
            connection.execute("DELETE FROM hooks WHERE lineage NOT IN (SELECT lineage FROM versions)")

    def put_sketches(self, sketches: Iterable[tuple[int, Extent]]) -> None:
        """Remember where small files lie, by the hashes of their sketches; the newest of a hash counts."""
        with self._catalog.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO sketches VALUES (?, ?, ?, ?)",
                ((value, extent.frame, extent.offset, extent.length) for value, extent in sketches),
            )

    def has_sketches(self) -> bool:
        """Tell whether there is any."""
        with self._catalog.reading() as connection:
            return connection.execute("SELECT 1 FROM sketches LIMIT 1").fetchone() is not None

    def find_sketches(self, values: Sequence[int]) -> list[Extent]:
        """Return where the small files lie that share these hashes, the one that shares most first."""
        with self._catalog.reading() as connection:
            rows = connection.execute(
                f"SELECT frame, offset, length FROM sketches WHERE hash IN ({_marks(values)}) "
                "GROUP BY frame, offset, length ORDER BY count(*) DESC", tuple(values),
            ).fetchall()
        return [Extent(FrameId(frame), offset, length) for frame, offset, length in rows]

    def _select(self, condition: str, values: tuple[object, ...]) -> list[Version]:
        with self._catalog.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM versions WHERE {condition}", values).fetchall()
        return [
            Version(dataset, since, until, lineage, length, unpack_extents(extents), anchors)
            for dataset, since, until, lineage, length, extents, anchors in rows
        ]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
