"""Reading the configuration: the file, conf.d beside it, and every problem at once with its line."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import tomli
from pydantic import BaseModel, ValidationError

from jbackupd.model.errors import ConfigError
from jbackupd.settings.crosscheck import cross_problems
from jbackupd.settings.explain import explain
from jbackupd.settings.lines import key_lines
from jbackupd.settings.present import absence_problems
from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError, refusal
from jbackupd.settings.schema import Settings
from jbackupd.settings.secrets import key_file_problems, secret_problems

M = TypeVar("M", bound=BaseModel)

CONFIG_BYTES_MAX = 4 << 20
"""A hundred times the largest configuration we can imagine; a wrong -c must not fill memory."""
_REPEATABLE = ("version",)
"""Keys that each file may state again, with the same value."""


class Document:
    """The merged tables of several files, and the place of every key.

    Args:
        file: The first of them.

    Attributes:
        data: The tables.
        places: By key path, where it was written.
        problems: What was wrong with the files so far.
    """

    def __init__(self, file: str) -> None:
        self._whole = Place(file)
        self.data: dict[str, Any] = {}
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []

    def add(self, file: str) -> None:
        """Read a file and merge it; problems are collected, never raised."""
        try:
            text = read_text(file)
            tables = tomli.loads(text)
            lines = {path: Place(file, line) for path, line in key_lines(text).items()}
        except tomli.TOMLDecodeError as error:
            wrong = WrongError("this is not TOML: {reason}", reason=error.msg)
            self.problems.append(Problem(Place(file, error.lineno), (), wrong))
            return
        except ValueError as error:
            # Python reads no number of more than 4300 digits.
            wrong = WrongError("this is not TOML: {reason}", reason=str(error))
            self.problems.append(Problem(Place(file), (), wrong))
            return
        except ConfigError as error:
            self.problems.append(Problem(Place(file), (), WrongError.of(error)))
            return
        except RecursionError:
            self.problems.append(Problem(Place(file), (), WrongError("the tables are nested too deeply")))
            return
        self.problems += secret_problems(tables, lines)
        self._merge(self.data, tables, (), (), lines)

    def place(self, path: KeyPath) -> Place:
        """Return where a key was written, or the nearest table around it, or the first file as a whole."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self._whole)

    def _merge(
        self, into: dict[str, Any], tables: dict[str, Any], path: KeyPath, path_there: KeyPath,
        lines: dict[KeyPath, Place],
    ) -> None:
        """Merge tables key by key; arrays of tables are joined, anything else may stand in one file only."""
        for key, value in tables.items():
            here, there = (*path, key), (*path_there, key)
            old = into.get(key)
            if old is None:
                into[key] = value
                self._place_below(here, there, lines)
            elif isinstance(old, dict) and isinstance(value, dict):
                self._merge(old, value, here, there, lines)
            elif _is_table_list(old) and _is_table_list(value):
                for index, element in enumerate(value):
                    self._place_below((*here, index), (*there, len(old)), lines)
                    old.append(element)
            elif not (key in _REPEATABLE and not path and type(old) is type(value) and old == value):
                wrong = WrongError(
                    "is already written at {other}", "keep one of the two", other=self.place(there)
                )
                self.problems.append(Problem(lines[here], here, wrong))

    def _place_below(self, here: KeyPath, there: KeyPath, lines: dict[KeyPath, Place]) -> None:
        for path, place in lines.items():
            if path[: len(here)] == here:
                self.places[there + path[len(here) :]] = place


def _is_table_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, dict) for element in value)


def read_text(file: str) -> str:
    """Return a configuration file's text.

    Raises:
        ConfigError: It cannot be read, is too long, is not UTF-8, or anybody may write to it.
    """
    try:
        with open(file, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            "unable to read the configuration: {reason}",
            "name the file with -c FILE, or write one with `jbackupd config init`",
            reason=error.strerror or str(error),
        ) from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError("the file is too long to be a configuration", "name the right file with -c FILE")
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        # Whoever writes the configuration chooses the commands that the service runs.
        raise ConfigError("anybody may write to the configuration", "chmod o-w {file}", file=file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "line {line} is not UTF-8", "save the file as UTF-8", line=data.count(b"\n", 0, error.start) + 1
        ) from error


def config_files(file: str) -> list[str]:
    """Return the configuration file and the conf.d/*.toml beside it, in the order they are read."""
    folder = os.path.join(os.path.dirname(os.path.abspath(file)), "conf.d")
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise ConfigError(
            "unable to list {folder}: {reason}", "check that the service user may read it",
            folder=folder, reason=error.strerror,
        ) from error
    return [file, *(os.path.join(folder, name) for name in names)]


def load_as(
    model: type[M], files: Sequence[str], cross: Callable[[M, Callable[[KeyPath], Place]], Iterable[Problem]]
) -> M:
    """Return what files hold together, as a model.

    Args:
        model: What the tables must be; its path types are resolved against the first file's folder.
        files: In the order in which they are merged.
        cross: Checks a model that is fine by itself; gets it and where each key was written.

    Raises:
        ConfigError: Anything is wrong; the error names every problem with file, line and key, and its
            field `problems` holds them.
    """
    document = Document(files[0])
    for file in files:
        document.add(file)
    loaded: M | None = None
    if document.data or not document.problems:
        try:
            context = {"folder": os.path.dirname(os.path.abspath(files[0]))}
            loaded = model.model_validate(document.data, context=context)
        except ValidationError as error:
            document.problems += explain(error, model, document.data, document.place)
    if loaded is not None:
        document.problems += cross(loaded, document.place)
    if loaded is None or document.problems:
        raise refusal(document.problems)
    return loaded


def load(file: str, *, thorough: bool = False) -> Settings:
    """Return the settings in a file and the conf.d/*.toml beside it.

    Relative paths in any of the files are relative to the folder of the first.

    Args:
        file: The main file.
        thorough: Check also that the files and programs that the settings name are there.

    Raises:
        ConfigError: As for `load_as`.
    """

    def checked(settings: Settings, place: Callable[[KeyPath], Place]) -> Iterator[Problem]:
        yield from cross_problems(settings, place)
        yield from key_file_problems(settings, place)
        if thorough:
            yield from absence_problems(settings, place)

    return load_as(Settings, config_files(file), checked)
