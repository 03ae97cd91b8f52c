"""The kinds of data that are measured, and what decides the figures of each. Loads nothing: the runner stays small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a kind is measured.

    Attributes:
        megabytes: About so large is a day's data.
        days: So many days after the first.
    """

    megabytes: int
    days: int


@dataclass(frozen=True, slots=True)
class Aim:
    """What the bytes of a day may be.

    Attributes:
        bound: So many times the smallest lower bound.
        peers: One in so many of the better of restic and borg; 0: no such aim.
    """

    bound: float
    peers: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of data.

    Attributes:
        name: What `--only` calls it.
        maker: Who makes it, of `benchmarks.make`; several kinds may come from one maker.
        part: The folder of the maker's days that this kind is.
        limits: What decides its figures, in a sentence or two.
        labels: What happens on each day after the first; without them the days are alike.
        bounded: Whether the lower bounds say anything about it.
        datasets: Which of a tenant's datasets each day belongs to; 0 for days not named.
        programs: Who is measured on it; without names all.
        variants: Whether variants of the same program (Debian's older one, other chunks) are measured as well.
    """

    name: str
    title: str
    limits: str
    maker: str
    quick: Size
    full: Size
    part: str = ""
    aim: Aim | None = None
    labels: tuple[str, ...] = ()
    bounded: bool = True
    datasets: tuple[int, ...] = ()
    programs: tuple[str, ...] = ()
    variants: bool = False

    @property
    def short(self) -> str:
        """Return its title's first words."""
        return self.title.partition(":")[0]

    def label(self, day: int) -> str:
        """Return what the nth day is called."""
        return self.labels[day - 1] if day - 1 < len(self.labels) else f"day {day}"

    def dataset(self, day: int) -> int:
        """Return the number of the dataset that the nth day belongs to."""
        return self.datasets[day] if day < len(self.datasets) else 0


KINDS = (
    Kind(
        "register", "Register: a real PostgreSQL's dump; 1 % of the rows updated, 0.2 % inserted, 0.1 % deleted a day",
        "Changed rows are everywhere, so nearly every chunk of any size holds one: chunking alone sends most of "
        "the file again. What a delta sends is the changed rows, and where each of them is.",
        "postgres", Size(12, 2), Size(187, 2), part="register", aim=Aim(2, 40), variants=True,
    ),
    Kind(
        "basebackup", "Base backup: pg_basebackup's archive of the same server and days",
        "An updated row's new version goes to another page, the old one is marked, and each index learns of it: "
        "five places of 8 KiB pages change for one row.",
        "postgres", Size(12, 2), Size(187, 2), part="basebackup", aim=Aim(2, 12),
    ),
    Kind(
        "image", "Disk image: 1 to 3 % of its 4 KiB blocks changed a day",
        "A quarter of the changed blocks is wholly new: nobody can save these bytes. Blocks that changed a little are "
        "what a delta saves and chunking does not.",
        "image", Size(24, 2), Size(140, 2), aim=Aim(1.5, 25), variants=True,
    ),
    Kind(
        "ext4", "Disk image, ext4: a file system as e2fsprogs writes it; files edited, added and deleted a day",
        "A file written anew takes other blocks, so what it shares with its older version lies elsewhere; free "
        "blocks keep what was in them.",
        "ext4", Size(16, 2), Size(100, 2), aim=Aim(1.5, 25),
    ),
    Kind(
        "exports", "Exports: fourteen CSV files in cp932; 1 % of the rows changed, 0.2 % inserted, 0.1 % deleted a day",
        "As the register, but rows stay in their order. Small files are small next to what any point costs: "
        "key, index, tree, point.",
        "exports", Size(12, 2), Size(110, 2), aim=Aim(2, 30),
    ),
    Kind(
        "office", "Office tree: files edited each day; the packages upgraded on day 2, a department renamed on day 3",
        "Edited documents are zipped: behind the edit every byte differs, for a delta too, and new pictures are "
        "incompressible. Names are cp932 in part.",
        "office", Size(12, 3), Size(230, 3), aim=Aim(1.5), labels=("edits", "upgrade", "rename"),
        variants=True,
    ),
    Kind(
        "noise", "Noise: incompressible; 1 % replaced in stretches of 4 to 256 KiB, 0.1 % appended a day",
        "The changed bytes themselves, 1.1 % of the file, are the floor. Small chunks come near to it; large "
        "chunks send what surrounds every change.",
        "noise", Size(16, 2), Size(120, 2), aim=Aim(1.1),
    ),
    Kind(
        "unchanged", "Unchanged: 20,000 small files, no change",
        "Starting, walking the tree and writing a point: files that did not change are recognised without reading.",
        "files", Size(40, 3), Size(40, 5), bounded=False,
    ),
    Kind(
        "deltas", "Many days: a dump, a delta each day; the newest is restored",
        "A point that hangs on many older ones: each frame is decoded with its bases.",
        "deltas", Size(6, 10), Size(64, 30), bounded=False, programs=("jbackupd", "restic", "borg"),
    ),
    Kind(
        "pages", "Page copy: an SQLite database; 1 % of the rows updated, 0.2 % inserted, 0.1 % deleted a day",
        "Rows are changed where they are, and indexes by page: small changes in pages of 4 KiB, all over the file.",
        "pages", Size(10, 2), Size(60, 2),
    ),
    Kind(
        "packed", "Packed: encrypted archives, one new and one gone a day; a dump that is gzipped anew each day",
        "Nobody finds anything in encrypted bytes, nor behind the first change in gzipped ones: the new bytes are "
        "the floor.",
        "packed", Size(8, 2), Size(60, 2),
    ),
    Kind(
        "rotated", "Rotated: a dump whose name is its date, yesterday's deleted",
        "The file of the day has no older version by its name: it must be found by its content.",
        "rotated", Size(8, 2), Size(50, 2), part="deleted",
    ),
    Kind(
        "kept", "Rotated and kept: a dump whose name is its date, older ones stay",
        "As rotated; the lower bounds see an archive of all dumps, in which each is like the one before it.",
        "rotated", Size(8, 2), Size(50, 2), part="kept",
    ),
    Kind(
        "moved", "Moved: large files into other folders, then under other names; their content stays",
        "Only names are new; every byte that a program sends beyond a few kilobytes is waste.",
        "moved", Size(12, 2), Size(100, 2), labels=("folder", "name"),
    ),
    Kind(
        "twins", "Twins: a second dataset of the same tenant resembles the first (a copy for tests, 3 % of it other)",
        "The second dataset's first point has no point of its own before it: what it shares is in another dataset.",
        "twins", Size(8, 2), Size(50, 2), labels=("the twin", "its next day"), datasets=(0, 1, 1),
    ),
    Kind(
        "unchanged100k", "Unchanged, 100,000: small files, no change",
        "As the 20,000 files, five times as many.",
        "files", Size(0, 0), Size(200, 3), bounded=False, programs=("jbackupd", "restic", "borg", "rsync"),
    ),
)
"""Those with aims first; sizes of 0 are left out."""
