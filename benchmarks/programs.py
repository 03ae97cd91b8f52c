"""The programs that are compared, each driven by its command line as an operator would."""

from __future__ import annotations

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence

from benchmarks.child import ProgramError, Ran, run
from benchmarks.folders import total_bytes
from benchmarks.tools import HERE, debian, either, newest

PASSWORD = "benchmark"


class Program(ABC):
    """A backup program and one repository of it.

    Attributes:
        name: As it stands in the table.
        how: Its options in words.
        first_only: It is there for its first copy alone.
        timed: The time of its first copy is judged, or what another's is judged by.
        variant: It is there beside another of the same name, in the long run, on some kinds of data.
        old_days: Whether it can restore a day that is not the newest.
    """

    name: str
    how: str
    first_only = False
    timed = False
    variant = False
    old_days = True
    command: str
    """Path of the program, or its bare name if it is not installed."""

    def available(self) -> bool:
        """Tell whether it is installed."""
        return os.path.isabs(self.command)

    @abstractmethod
    def version(self) -> str:
        """Return its version in one line."""

    @abstractmethod
    def create(self, folder: str, live: Sequence[str]) -> None:
        """Make an empty repository in a new folder, for what is in the live folders, one a dataset."""

    @abstractmethod
    def back_up(self, day: int, dataset: int) -> Ran:
        """Back a dataset's live folder up."""

    @abstractmethod
    def restore(self, day: int, dataset: int, target: str) -> Ran:
        """Put a day's backup into a folder that is not there yet, with the live folder's content at its top."""

    @abstractmethod
    def stored_bytes(self) -> int:
        """Return what the repository holds that a copy of it elsewhere would need; caches are not counted."""


class Jbackupd(Program):
    """This project, as `backup --local`."""

    name, command, timed = "jbackupd", sys.executable, True
    how, preset = "files source, preset balanced", "balanced"

    def version(self) -> str:
        return self._run("--version").output.strip()

    def create(self, folder: str, live: Sequence[str]) -> None:
        os.makedirs(folder)
        self._folder = folder
        self._sequence: dict[int, int] = {}
        text = f'version = 1\n[site]\nid = "here"\nstate = "{folder}/state"\n[[tenant]]\nid = "town"\n'
        for number, path in enumerate(live):
            text += f'[[dataset]]\nid = "town/data{number}"\npreset = "{self.preset}"\n'
            text += f'source = {{ kind = "files", paths = ["{path}"] }}\n'
        with open(os.path.join(folder, "jbackupd.toml"), "w", encoding="utf-8") as file:
            file.write(text)
        self._run(*self._configured("vault", "init", "town"), "--shares", "2-of-3", "--share-dir", f"{folder}/shares")

    def back_up(self, day: int, dataset: int) -> Ran:
        # The key that `vault init` makes is new to a peer as well: the first point counts it.
        before = self.stored_bytes() if day else 0
        ran = self._run(*self._configured("backup", f"town/data{dataset}"), "--local", "--json")
        document = json.loads(ran.output)
        said, grown = document["new_object_bytes"], self.stored_bytes() - before
        if said != grown:
            raise ProgramError(f"jbackupd says {said} new bytes, but its vault grew by {grown}")
        self._sequence[day] = document["sequence"]
        return ran

    def restore(self, day: int, dataset: int, target: str) -> Ran:
        return self._run(*self._configured("restore", f"town/data{dataset}@{self._sequence[day]}"), "--to", target)

    def stored_bytes(self) -> int:
        return total_bytes(
            *(f"{self._folder}/state/vaults/town/{kind}" for kind in ("packs", "indexes", "points", "keys", "receipts"))
        )

    def _configured(self, *words: str) -> Sequence[str]:
        return *words, "-c", f"{self._folder}/jbackupd.toml"

    def _run(self, *words: str) -> Ran:
        return run([self.command, "-m", "jbackupd", *words], folder=HERE)


class FastJbackupd(Jbackupd):
    """This project where time counts more than bytes."""

    name, how, preset = "jbackupd, fast", "the same, preset fast", "fast"
    first_only = True


class ThinJbackupd(Jbackupd):
    """This project where bytes count more than time."""

    name, how, preset = "jbackupd, thin-line", "the same, preset thin-line", "thin-line"
    first_only, timed = True, False


class Restic(Program):
    """The newest restic there is, with the compression that sends least."""

    name, how = "restic", "--compression max"
    level = "max"

    def __init__(self) -> None:
        self.command = either("restic")

    def version(self) -> str:
        return self._run("version").output.split(" compiled")[0].strip()

    def create(self, folder: str, live: Sequence[str]) -> None:
        os.makedirs(folder)
        self._folder, self._live = folder, live
        self._run("init", "--repository-version", "2")

    def back_up(self, day: int, dataset: int) -> Ran:
        words = ("backup", "--compression", self.level, "--tag", f"day{day}", ".")
        return self._run(*words, at=self._live[dataset])

    def restore(self, day: int, dataset: int, target: str) -> Ran:
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
        return run([self.command, *words], folder=at, env=places)


class FastRestic(Restic):
    """restic as it is without options."""

    name, how, level = "restic, auto", "--compression auto", "auto"
    first_only = timed = True


class DebianRestic(Restic):
    """Debian's restic, beside a newer one."""

    name, variant = "restic of Debian", True

    def __init__(self) -> None:
        self.command = debian("restic") or "restic"


class Borg(Program):
    """The newest BorgBackup there is; what it stores is its segment files."""

    name, how = "borg", "--compression zstd,10, encrypted (repokey-blake2)"
    options: Sequence[str] = ("--compression", "zstd,10")

    def __init__(self) -> None:
        self.command = either("borg")

    def version(self) -> str:
        return run([self.command, "--version"]).output.strip()

    def create(self, folder: str, live: Sequence[str]) -> None:
        os.makedirs(folder)
        self._folder, self._live = folder, live
        self._run("init", "--encryption", "repokey-blake2", self._repository)

    def back_up(self, day: int, dataset: int) -> Ran:
        return self._run("create", *self.options, f"{self._repository}::day{day}", ".", at=self._live[dataset])

    def restore(self, day: int, dataset: int, target: str) -> Ran:
        os.makedirs(target)
        return self._run("extract", f"{self._repository}::day{day}", at=target)

    def stored_bytes(self) -> int:
        return total_bytes(f"{self._repository}/data")

    @property
    def _repository(self) -> str:
        return f"{self._folder}/repository"

    def _run(self, *words: str, at: str | None = None) -> Ran:
        places = {"BORG_BASE_DIR": f"{self._folder}/base", "BORG_PASSPHRASE": PASSWORD}
        return run([self.command, *words], folder=at, env=places)


class FastBorg(Borg):
    """BorgBackup with a light compression."""

    name, how = "borg, zstd,3", "--compression zstd,3"
    options = ("--compression", "zstd,3")
    first_only = timed = True


class SmallBorg(Borg):
    """BorgBackup with chunks as small as is bearable, where it sends least."""

    name, variant = "borg, 8 KiB", True
    how = "as borg, with --chunker-params 10,16,13,4095"
    options = ("--compression", "zstd,10", "--chunker-params", "10,16,13,4095")


class DebianBorg(Borg):
    """Debian's BorgBackup, beside a newer one."""

    name, variant = "borg of Debian", True

    def __init__(self) -> None:
        self.command = debian("borg") or "borg"


class Rsync(Program):
    """rsync to a mirror in clear: no history, no encryption; what it stores is what crossed its wire."""

    name = "rsync"
    how = "-B1024 --compress-choice=zstd --compress-level=9 --fuzzy, to a mirror in clear that keeps no older day"
    old_days = False

    def __init__(self) -> None:
        self.command = debian("rsync") or "rsync"

    def version(self) -> str:
        return run([self.command, "--version"]).output.split("  protocol")[0].replace("  version", "")

    def create(self, folder: str, live: Sequence[str]) -> None:
        os.makedirs(folder)
        self._folder, self._live, self._crossed = folder, live, 0

    def back_up(self, day: int, dataset: int) -> Ran:
        mirror = f"{self._folder}/mirror{dataset}/"
        options = ["-a", "--delete-after", "--fuzzy", "--no-whole-file", "-B1024", "--stats"]
        squeeze = ["--compress", "--compress-choice=zstd", "--compress-level=9"]
        ran = run([self.command, *options, *squeeze, f"{self._live[dataset]}/", mirror])
        numbers = re.findall(r"^Total bytes (?:sent|received): ([\d,.]+)", ran.output, re.MULTILINE)
        self._crossed += sum(int(re.sub(r"[,.]", "", number)) for number in numbers)
        return ran

    def restore(self, day: int, dataset: int, target: str) -> Ran:
        return run([self.command, "-a", f"{self._folder}/mirror{dataset}/", target + "/"])

    def stored_bytes(self) -> int:
        return self._crossed


PROGRAMS: Sequence[type[Program]] = (
    Jbackupd, FastJbackupd, ThinJbackupd, Restic, FastRestic, DebianRestic,
    Borg, FastBorg, SmallBorg, DebianBorg, Rsync,
)


def programs(*, full: bool) -> list[Program]:
    """Return who takes part; Debian's programs only beside newer ones."""
    made = [kind() for kind in PROGRAMS if full or not kind.variant]
    return [
        program for program in made
        if not (isinstance(program, DebianRestic) and newest("restic") is None)
        and not (isinstance(program, DebianBorg) and newest("borg") is None)
    ]
