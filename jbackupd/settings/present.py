"""What a configuration names and this machine should have: cards, source paths, programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.schema import FilesSource, Settings


def absence_problems(settings: Settings, place: Callable[[KeyPath], Place]) -> Iterator[Problem]:
    """Yield a problem for every file that is named and cannot be found now."""
    for path, wrong in _absences(settings):
        yield Problem(place(path), path, wrong)


def _absences(settings: Settings) -> Iterator[tuple[KeyPath, WrongError]]:
    for index, peer in enumerate(settings.peers):
        if not os.access(peer.card, os.R_OK):
            yield ("peer", index, "card"), WrongError(
                "there is no readable file {path}", "ask the other site for it, and compare it by telephone",
                path=peer.card,
            )
    for index, officer in enumerate(settings.officers):
        if not os.access(officer.card, os.R_OK):
            yield ("officer", index, "card"), WrongError(
                "there is no readable file {path}", "ask the officer for it, and compare it in person",
                path=officer.card,
            )
    for index, dataset in enumerate(settings.datasets):
        source = dataset.source
        if isinstance(source, FilesSource):
            for position, name in enumerate(source.paths):
                if not os.path.lexists(name):
                    yield ("dataset", index, "source", "paths", position), WrongError(
                        "there is no {path}", "check the path, and that it is mounted", path=name
                    )
        elif shutil.which(source.command[0]) is None:
            yield ("dataset", index, "source", "command", 0), WrongError(
                "there is no program {name!r}", "write its full path", name=source.command[0]
            )
