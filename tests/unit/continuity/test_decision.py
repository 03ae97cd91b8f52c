"""Who decided what, and when: cases begin with a suspicion, end with a declaration or an all-clear, and never mix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import pytest

from jbackupd.codec.signing import SiteSigner
from jbackupd.continuity.decision import ITEMS, Decisions, Entry, What, case_of
from jbackupd.continuity.evidencepage import evidence_page
from jbackupd.format.declaration import Declaration, Statement, approve, declare
from jbackupd.model.errors import UsageError
from jbackupd.model.ids import SiteId
from jbackupd.storage.files import PosixFiles

BEGIN = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
SAGA, KYOTO = SiteId("saga"), SiteId("kyoto")


class Clock:
    """Goes on by a minute whenever it is looked at."""

    def __init__(self) -> None:
        self._minutes = -1

    def now(self) -> datetime:
        self._minutes += 1
        return BEGIN + timedelta(minutes=self._minutes)

    def monotonic(self) -> float:
        return float(self._minutes)


def declaration(nonce: bytes = b"n" * 16) -> Declaration:
    return declare(Statement(SAGA, 2, KYOTO, BEGIN, "flooded", b"e" * 32, nonce))


@pytest.fixture
def decisions(tmp_path: Path) -> Decisions:
    return Decisions(PosixFiles(str(tmp_path)), Clock())  # type: ignore[arg-type]


def test_a_case_goes_from_the_first_suspicion_to_the_declaration_in_force(decisions: Decisions) -> None:
    decisions.observe(SAGA, "telephone", "lost", "rings, nobody answers", "mori")
    wanted = declaration()
    decisions.declared(wanted)
    # In force is noted by whoever hears of it first, and the last approval behind it.
    decisions.in_force(wanted)
    decisions.in_force(wanted)
    decisions.approved(wanted, [approve(wanted, "abe", SiteSigner(b"a" * 64))])
    case = decisions.case_ended_by(wanted)
    assert [entry.what for entry in case.entries] == [What.OBSERVED, What.DECLARED, What.IN_FORCE, What.APPROVED]
    assert (case.suspected_at, case.approved_at) == (BEGIN, BEGIN + timedelta(minutes=2))
    assert case.entries[-1].by == "abe" and case.entries[-1].item == "key"
    assert decisions.case(SAGA).entries == (), "what comes now is another case"


def test_an_all_clear_ends_a_case_and_other_sites_are_others(decisions: Decisions) -> None:
    decisions.observe(SAGA, "power", "unclear", "outage in the city", "mori")
    decisions.observe(KYOTO, "news", "alive", "nothing", "mori")
    decisions.close(SAGA, "the line is back", "mori")
    assert decisions.case(SAGA).entries == () and len(decisions.case(KYOTO).observations) == 1
    case = decisions.observe(SAGA, "visit", "lost", "smoke", "abe")
    assert [entry.words for entry in case.observations] == ["smoke"]


def test_a_withdrawn_declaration_stays_in_its_case(decisions: Decisions) -> None:
    first, second = declaration(), declaration(b"m" * 16)
    for note in (decisions.declared, decisions.withdrawn):
        note(first)
    decisions.declared(second)
    decisions.in_force(second)
    assert decisions.case_ended_by(second).suspected_at == BEGIN
    assert decisions.case_ended_by(first).entries == ()


@pytest.mark.parametrize(("item", "says", "words", "by"), [
    ("tea-leaves", "lost", "x", "mori"), ("power", "perhaps", "x", "mori"), ("power", "lost", " ", "mori"),
    ("power", "lost", "x", ""), ("power", "lost", "x" * 1001, "mori"),
])
def test_an_observation_has_an_item_words_and_a_name(
    decisions: Decisions, item: str, says: str, words: str, by: str
) -> None:
    with pytest.raises(UsageError):
        decisions.observe(SAGA, item, says, words, by)
    assert decisions.case(SAGA).entries == ()


def test_cases_are_pure() -> None:
    entries = [Entry(What.OBSERVED, 1, "saga"), Entry(What.IN_FORCE, 2, "saga", declaration="d1"),
               Entry(What.OBSERVED, 3, "saga"), Entry(What.IN_FORCE, 4, "saga", declaration="d2")]
    assert [entry.micros for entry in case_of(entries, SAGA, "d1").entries] == [1, 2]
    assert [entry.micros for entry in case_of(entries, SAGA, "d2").entries] == [3, 4]
    assert case_of(entries, SAGA).entries == () == case_of(entries, SAGA, "d3").entries


def document(**changes: Any) -> dict[str, Any]:
    at = BEGIN.isoformat()
    return {
        "about": "saga", "by": "kyoto", "at": at, "suspected_at": at, "declaration": "302caa58", "digest": "ab" * 32,
        "contacts": [
            {"site": "kyoto", "up": False, "error": None, "last_contact": at, "last_receipt": None},
            {"site": "nara", "up": None, "error": "<b>cut</b>", "last_contact": None, "last_receipt": None},
        ],
        "datasets": [{
            "dataset": "imari/juki", "sequence": 4, "taken_at": at, "incomplete": False, "objects": 9, "verified": 7,
            "unsound": 2, "verified_since": None, "receipts": [{"site": "kyoto", "sequence": 4, "at": at}],
        }, {"dataset": "imari", "error": "<i>damaged</i>"}],
        "checklist": [{"at": at, "item": "power", "says": "lost", "words": "<script>1</script>", "by": "<mori>"}],
        **changes,
    }


def test_the_page_shows_what_was_found_and_leaves_rows_for_what_was_not_asked() -> None:
    page = evidence_page(document(), lambda moment: f"{moment:%H:%M}")
    assert "ab" * 32 in page and "7 of 9 objects / 2 DAMAGED" in page and "kyoto @4" in page
    assert all(escape(text) in page for text in ITEMS.values())
    assert page.count(ITEMS["power"]) == 1, "what was asked has no blank row as well"
    assert "<script>" not in page and "<mori>" not in page and "<i>damaged" not in page


def test_the_page_without_a_declaration_says_so() -> None:
    page = evidence_page(document(declaration=None, digest=None, datasets=[], suspected_at=None), str)
    assert "of none yet" in page and "nothing that it made is here" in page
