"""The pages on receptions say what the program does: forms, events, states, commands."""

import re
from pathlib import Path

import click
import pytest

from jbackupd.cli.main import _root
from jbackupd.continuity.failback import ITEM_MACHINE, STATE_WORDS, Note, QueueBegin
from jbackupd.format.intake import Begin, Cancellation, Correction, Person, Reception
from jbackupd.format.intakekinds import SPECS, KindSpec
from tests.operator.test_recovery_docs import commands

ROOT = Path(__file__).parents[2]
FORMAT = (ROOT / "docs/format/intake.md").read_text()
PAGE = (ROOT / "docs/operating/intake.md").read_text()


def row_of(first: str, text: str = FORMAT) -> list[str]:
    """Return the cells of the table row that begins with a word."""
    match = re.search(rf"(?m)^\| {re.escape(first)} \|(.*)\|$", text)
    assert match, f"no row {first}"
    return [cell.strip() for cell in match[1].split("|")]


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.kind.value)
def test_every_field_and_answer_of_a_form_stands_in_the_table(spec: KindSpec) -> None:
    prefix, required, others = row_of(f"`{spec.kind.value}`")
    assert prefix == spec.prefix
    for field in spec.fields:
        cell = required if field.required else others
        assert f"`{field.name}`" in cell, field.name
        if field.choices:
            assert f"`{field.name}` ({', '.join(choice.code for choice in field.choices)})" in FORMAT
    assert set(re.findall(r"`(\w+)`", required + others)) == {field.name for field in spec.fields}


@pytest.mark.parametrize(("event", "record"), [
    ("begin", Begin), ("receive", Reception), ("correct", Correction), ("cancel", Cancellation),
    ("queue", QueueBegin), ("note", Note),
])
def test_every_record_has_its_fields_on_the_page(event: str, record: type) -> None:
    said = set(re.findall(r"`(\w+)`", row_of(f"`{event}`")[0]))
    assert said == set(record.__struct_fields__)
    assert set(re.findall(r"`(\w+)`", FORMAT)) >= set(Person.__struct_fields__)


def test_every_step_of_an_item_stands_in_the_table() -> None:
    table = FORMAT.partition("| state | `do` | state after |")[2]
    rows = re.findall(r"(?m)^\| ([a-z, ]+?)(?: [^|a-z]*)? \| `(\w+)`[^|]*\| ([a-z]+)", table)
    said = {(state, do, after) for states, do, after in rows for state in states.strip().split(", ")}
    assert said == {(s.value, e.value, after.value) for (s, e), after in ITEM_MACHINE.table.items()}
    for word in STATE_WORDS.values():
        assert word in PAGE


def test_every_command_on_the_page_exists_with_its_options() -> None:
    found = commands(PAGE)
    assert len(found) > 10
    for words in found:
        command: click.Command = _root()
        names = list(words)
        while isinstance(command, click.Group):
            below = command.get_command(click.Context(command), names.pop(0))
            assert below is not None, words
            command = below
        options = {option for param in command.params for option in param.opts}
        assert {name for name in names if name.startswith("--")} <= options, words
