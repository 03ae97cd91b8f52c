"""The programs that are compared, each driven by its command line as an operator would."""

from __future__ import annotations

import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence

from benchmarks.child import ProgramError, Ran, run
from benchmarks.folders import total_bytes

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PASSWORD = "benchmark"


class Program(ABC):
    """A backup program and one repository of it.

    Attributes:
        name: As it stands in the table.
        needs: The command that must be there.
        how: Its options in words.
    """

    name: str
    needs: str
    how: str

    @abstractmethod
    def version(self) -> str:
        """Return its version in one line."""

    @abstractmethod
    def create(self, folder: str, live: str) -> None:
        """Make an empty repository in a new folder, for what is in the live folder."""

    @abstractmethod
    def back_up(self, day: int) -> Ran:
        """Back the live folder up."""

    @abstractmethod
    def restore(self, day: int, target: str) -> Ran:
        """Put a day's backup into an empty folder, with the live folder's content at its top."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Return what the repository holds that a copy of it elsewhere would need; caches are not counted."""

    def available(self) -> bool:
        """Tell whether it is installed."""
        return shutil.which(self.needs) is not None


class Jbackupd(Program):
    """This project, as `backup --local`."""

    name, needs = "jbackupd", sys.executable
    how = "files source, default settings"

    def version(self) -> str:
        return self._run("--version").output.strip()

    def create(self, folder: str, live: str) -> None:
        os.makedirs(folder)
        self._folder = folder
        with open(os.path.join(folder, "jbackupd.toml"), "w", encoding="utf-8") as file:
            file.write(
                f'version = 1\n[site]\nid = "here"\nstate = "{folder}/state"\n[[tenant]]\nid = "town"\n'
                f'[[dataset]]\nid = "town/data"\nsource = {{ kind = "files", paths = ["{live}"] }}\n'
            )
        self._run(*self._command("vault", "init", "town"), "--shares", "2-of-3", "--share-dir", f"{folder}/shares")

    def back_up(self, day: int) -> Ran:
        # The key that `vault init` makes is new to a peer as well: the first point counts it.
        before = self.stored_bytes() if day else 0
        ran = self._run(*self._command("backup", "town/data"), "--local", "--json")
        said, grown = json.loads(ran.output)["new_object_bytes"], self.stored_bytes() - before
        if said != grown:
            raise ProgramError(f"jbackupd says {said} new bytes, but its vault grew by {grown}")
        return ran

    def restore(self, day: int, target: str) -> Ran:
        return self._run(*self._command("restore", f"town/data@{day + 1}"), "--to", target)

    def stored_bytes(self) -> int:
        return total_bytes(
            *(f"{self._folder}/state/vaults/town/{kind}" for kind in ("packs", "indexes", "points", "keys", "receipts"))
        )

    def _command(self, *words: str) -> Sequence[str]:
        return *words, "-c", f"{self._folder}/jbackupd.toml"

    def _run(self, *words: str) -> Ran:
        return run([sys.executable, "-m", "jbackupd", *words], folder=HERE)


class Restic(Program):
    """restic, with the compression that sends least."""

    name, needs = "restic", "restic"
    how = "--compression max"

    def version(self) -> str:
        return self._run("version").output.split(" compiled")[0].strip()

    def create(self, folder: str, live: str) -> None:
        os.makedirs(folder)
        self._folder, self._live = folder, live
        self._run("init", "--repository-version", "2")

    def back_up(self, day: int) -> Ran:
        return self._run("backup", "--compression", "max", "--tag", f"day{day}", ".", at=self._live)

    def restore(self, day: int, target: str) -> Ran:
        return self._run("restore", "latest", "--tag", f"day{day}", "--target", target)

    def stored_bytes(self) -> int:
        return total_bytes(*(f"{self._folder}/repository/{kind}" for kind in ("data", "index", "snapshots", "keys")))

    def _run(self, *words: str, at: str | None = None) -> Ran:
        places = {}
        if words[0] != "version":
            places = {
                "RESTIC_REPOSITORY": f"{self._folder}/repository", "RESTIC_CACHE_DIR": f"{self._folder}/cache",
                "RESTIC_PASSWORD": PASSWORD,
            }
        return run(["restic", *words], folder=at, env=places)


class Borg(Program):
    """BorgBackup; what it stores is its segment files."""

    name, needs = "borg", "borg"
    how = "--compression zstd,10, encrypted (repokey-blake2)"
    options: Sequence[str] = ("--compression", "zstd,10")

    def version(self) -> str:
        return run(["borg", "--version"]).output.strip()

    def create(self, folder: str, live: str) -> None:
        os.makedirs(folder)
        self._folder, self._live = folder, live
        self._run("init", "--encryption", "repokey-blake2", self._repository)

    def back_up(self, day: int) -> Ran:
        return self._run("create", *self.options, f"{self._repository}::day{day}", ".", at=self._live)

    def restore(self, day: int, target: str) -> Ran:
        os.makedirs(target)
        return self._run("extract", f"{self._repository}::day{day}", at=target)

    def stored_bytes(self) -> int:
        return total_bytes(f"{self._repository}/data")

    @property
    def _repository(self) -> str:
        return f"{self._folder}/repository"

    def _run(self, *words: str, at: str | None = None) -> Ran:
        places = {"BORG_BASE_DIR": f"{self._folder}/base", "BORG_PASSPHRASE": PASSWORD}
        return run(["borg", *words], folder=at, env=places)


class SmallBorg(Borg):
    """BorgBackup with chunks as small as is bearable, where it sends least."""

    name = "borg, 8 KiB"
    how = "as borg, with --chunker-params 10,16,13,4095"
    options = ("--compression", "zstd,10", "--chunker-params", "10,16,13,4095")


class Bound(ABC):
    """Not a backup: what one file costs, given the same file of the day before in clear."""

    name: str
    needs: str

    @abstractmethod
    def version(self) -> str:
        """Return the program's version in one line."""

    @abstractmethod
    def command(self, before: str | None, now: str, out: str) -> Sequence[str] | None:
        """Return how to write what is new; without a day before all of it, or None if it cannot do that."""

    def available(self) -> bool:
        """Tell whether it is installed."""
        return shutil.which(self.needs) is not None

    def new_bytes(self, before: str | None, now: str, out: str) -> int | None:
        """Return the size of what is new; `out` is a path that it may use."""
        command = self.command(before, now, out)
        if command is None:
            return None
        run(command)
        size = os.path.getsize(out)
        os.unlink(out)
        return size


class ZstdPatch(Bound):
    """zstd with yesterday as its dictionary."""

    name, needs = "zstd -3 --patch-from", "zstd"

    def version(self) -> str:
        return run(["zstd", "--version"]).output.strip(" *\n").split(",")[0]

    def command(self, before: str | None, now: str, out: str) -> Sequence[str] | None:
        return ["zstd", "-q", "-f", "-3", *([f"--patch-from={before}"] if before else []), now, "-o", out]


class Xdelta(Bound):
    """xdelta3 at its best."""

    name, needs = "xdelta3 -9", "xdelta3"

    def version(self) -> str:
        # It says its version on standard error and ends with 0.
        return "xdelta3 " + run(["sh", "-c", "xdelta3 -V 2>&1"]).output.split(",")[0].removeprefix("Xdelta version ")

    def command(self, before: str | None, now: str, out: str) -> Sequence[str] | None:
        if before is None:
            return None
        # Its window must hold all of yesterday, or it finds only what stayed near its place.
        window = max(os.path.getsize(before), 1 << 20)
        return ["xdelta3", "-9", "-f", "-q", "-e", "-B", str(window), "-s", before, now, out]


PROGRAMS: Sequence[type[Program]] = (Jbackupd, Restic, Borg, SmallBorg)
BOUNDS: Sequence[type[Bound]] = (ZstdPatch, Xdelta)
