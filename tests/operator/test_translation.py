"""Every text that a person may read is there in Japanese, and the compiled translation is fresh."""

import importlib.util
import os
import re

import click
import pytest

from jbackupd.cli.main import _root
from jbackupd.cli.output import Frame

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build", os.path.join(TOP, "jbackupd", "locale", "build.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_text_has_a_japanese_translation_and_the_compiled_file_holds_it(build, capsys):
    code = build.main(["--check"])
    assert (code, [line for line in capsys.readouterr().out.splitlines() if "note:" not in line]) == (0, [])


def test_texts_of_errors_are_found_in_every_form_they_are_written_in(build, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        'raise StorageError("a {x}", "b", x=1)\n'
        'raise errors.PeerError("c" "d", "e" if x else "f")\n'
        'raise InvariantError("not for people")\nraise ValueError("nor this")\nraise UsageError(message)\n'
    )
    assert list(build.error_templates(str(path))) == ["a {x}", "b", "cd", "e", "f"]


def test_a_missing_translation_and_differing_fields_are_told(build):
    assert build.problems({"new text": "cli/x.py"}, {}) == ["cli/x.py: no Japanese for 'new text'"]
    catalog = build.build_catalog({"new text": "cli/x.py"}, {"new text": "新しい文"}, set())
    assert build.is_stale(catalog)


def test_every_command_that_a_text_tells_people_to_run_exists(build):
    """A hint at three in the morning must not name a command that is not there."""
    called = re.compile(r"(?:[`']|: )jbackupd ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
    told = {match for text in build.used_texts() for match in called.findall(str(text))}
    root = click.Context(_root(), obj=Frame())
    missing = []
    for name, below in sorted(told):
        command = _root().get_command(root, name)
        wanted = below if isinstance(command, click.Group) else ""
        if command is None or (wanted and command.get_command(root, wanted) is None):
            missing.append(f"jbackupd {name} {below}")
    assert missing == []
