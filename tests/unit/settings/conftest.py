"""A configuration folder that tests write into and load from."""

import os
import re
from collections.abc import Callable

import pytest

from jbackupd.model.errors import ConfigError
from jbackupd.settings.load import load
from jbackupd.settings.problem import Problem

SMALLEST = """\
version = 1
[site]
id = "saga"
state = "state"
[[tenant]]
id = "imari"
[[dataset]]
id = "imari/juki"
source = { kind = "files", paths = ["/srv/juki"] }
"""


@pytest.fixture
def smallest() -> str:
    """Return the smallest configuration that takes something."""
    return SMALLEST


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    """Return a function that writes a configuration file and returns its path."""

    def write_file(text: str, name: str = "jbackupd.toml") -> str:
        path = os.path.join(tmp_path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return path

    return write_file


@pytest.fixture
def problems_of(write) -> Callable[[str], list[Problem]]:
    """Return a function that loads a text which must be refused, and returns what was wrong."""

    def problems(text: str) -> list[Problem]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.exit_code == 78
        found = list(caught.value.fields["problems"])
        assert found
        for problem in found:
            assert re.match(r"/.*\.toml(:\d+)?: ", str(problem))
        return found

    return problems
