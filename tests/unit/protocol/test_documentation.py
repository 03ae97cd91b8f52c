"""docs/protocol/line.md says what the code does."""

from __future__ import annotations

import os
import re

from jbackupd.protocol.answerer import ANSWERER, AnswererEvent, AnswererState
from jbackupd.protocol.asker import ASKER, AskerEvent, AskerState
from jbackupd.protocol.framing import PAYLOAD_BYTES_MAX, FrameType
from jbackupd.protocol.handshake import CONTEXT
from jbackupd.protocol.messages import MESSAGES
from jbackupd.transport.ssh import dial_options, listen_options

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
with open(os.path.join(TOP, "docs", "protocol", "line.md"), encoding="utf-8") as file:
    PAGE = file.read()


def rows(first_cell):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines() if re.match(rf"\| {first_cell} \|", line)
    ]


def test_every_frame_type_has_its_number_name_bound_and_fields():
    found = {}
    for number, name, _, bound, fields in (row for row in rows(r"\d+") if len(row) == 5):
        kind = FrameType(int(number))
        value, _, unit = bound.replace(",", "").partition(" ")
        found[kind] = (name, int(value) * (1024 if unit == "KiB" else 1))
        if kind in MESSAGES:
            assert re.findall(r"`(\w+)`", re.sub(r"\(.*?\)|\[.*?\]", "", fields)) == list(
                MESSAGES[kind].__struct_fields__
            ), name
    assert found == {
        kind: (kind.name.lower().replace("_", "-"), PAYLOAD_BYTES_MAX[kind]) for kind in FrameType
    }


def table(name, states, events):
    head = next(row for row in rows(name) if len(row) > 3)
    entries = {}
    words = {state.value.split()[0]: state for state in states}
    for word, state in words.items():
        for row in rows(word):
            if len(row) == len(head):
                for event, target in zip(head[1:], row[1:], strict=True):
                    if target:
                        entries[state, events(event)] = words[target]
    return entries


def test_both_tables_are_those_of_the_machines():
    for machine, states, events, closed in (
        (ASKER, AskerState, AskerEvent, AskerEvent.CLOSED),
        (ANSWERER, AnswererState, AnswererEvent, AnswererEvent.CLOSED),
    ):
        documented = table(machine.name, states, events)
        assert documented == {pair: to for pair, to in machine.table.items() if pair[1] is not closed}


def test_the_context_and_the_algorithms_are_named(tmp_path):
    from tests.support.twosites import Town

    assert f"`{CONTEXT.decode()}`" in PAGE
    town = Town(str(tmp_path))
    for options in (dial_options(town.saga.local, town.kyoto.pinned), listen_options(town.kyoto.local)):
        for key in ("kex_algs", "encryption_algs", "signature_algs", "compression_algs"):
            assert f"`{options[key][0]}`" in PAGE
            assert len(options[key]) == 1
