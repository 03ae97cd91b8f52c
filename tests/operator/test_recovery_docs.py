"""What an operator reads about recovery agrees with the code: example plans, keys, commands, the run's journal."""

from __future__ import annotations

import glob
import os
import re
import typing

import click
import pytest

from jbackupd.cli.main import _root
from jbackupd.continuity.plan import STEP_MACHINE
from jbackupd.continuity.record import (
    Answer,
    Beginning,
    Clean,
    Cleaned,
    Commit,
    End,
    Resume,
    Rollback,
    StepNote,
)
from jbackupd.service.readiness import check_desks
from jbackupd.settings.plan import Plan, load_plan
from jbackupd.settings.steps import AnyStep, Step

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLANS = sorted(glob.glob(os.path.join(TOP, "config", "plans", "*.toml")))
KINDS = typing.get_args(Step)


def page(name: str) -> str:
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("path", PLANS, ids=os.path.basename)
def test_every_example_plan_can_be_used(path: str) -> None:
    check_desks(load_plan(path))


def test_the_commented_plans_show_every_kind_of_step() -> None:
    kinds = {step.kind for path in PLANS for step in load_plan(path).steps}
    assert kinds == {kind.model_fields["kind"].annotation.__args__[0] for kind in KINDS}


@pytest.mark.parametrize("model", [Plan, *KINDS])
def test_the_page_names_every_key_of_a_plan(model: type[AnyStep]) -> None:
    text = page("docs/operating/recovery.md")
    keys = {field.alias or name for name, field in model.model_fields.items()}
    assert [key for key in sorted(keys) if f"`{key}`" not in text and f"[[{key}]]" not in text] == []


def commands(text: str) -> list[list[str]]:
    """Return the words of every command line that stands in a block of the page."""
    lines = [line.partition("#")[0] for line in text.splitlines() if line.startswith("    ")]
    parts = [part for line in lines for part in line.split(";")]
    return [part.split()[part.split().index("jbackupd") + 1 :] for part in parts if "jbackupd" in part.split()]


def test_every_command_on_the_page_exists_with_its_options() -> None:
    found = commands(page("docs/operating/recovery.md"))
    assert len(found) > 15
    for words in found:
        command: click.Command = _root()
        context = click.Context(command)
        rest = list(words)
        while isinstance(command, click.Group):
            below = command.get_command(context, rest.pop(0))
            assert below is not None, words
            command = below
        known = {option for param in command.params for option in param.opts}
        assert [word for word in rest if word.startswith("-") and word not in known] == [], words


def test_the_journals_page_has_every_event_field_and_transition() -> None:
    text = page("docs/format/run-journal.md")
    for kind in (Beginning, StepNote, Resume, Answer, Commit, Rollback, End, Clean, Cleaned):
        assert f"| `{kind.__struct_config__.tag}` |" in text
        assert [name for name in kind.__struct_encode_fields__ if f"`{name}`" not in text] == []
    rows = re.findall(r"^\| ([a-z, ]+) \| `(\w+)` \| (\w+) \|$", text, re.MULTILINE)
    written = {(state, event, after) for states, event, after in rows for state in states.split(", ")}
    assert written == {(state.value, event.value, after.value) for (state, event), after in STEP_MACHINE.table.items()}
