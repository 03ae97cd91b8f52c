"""The paper says what the plan says, in the order in which it happens, and holds nothing that opens anything."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.continuity.drill import Proof
from jbackupd.continuity.plan import Standing, StepState, next_step
from jbackupd.continuity.runbook import RunbookFacts, ordered_steps, people_are_fresh, runbook, runbook_document
from jbackupd.continuity.runbookpage import runbook_page, runbook_text
from jbackupd.model.errors import ConfigError
from jbackupd.model.ids import SiteId
from jbackupd.settings.plan import Plan, load_plan, parse_plan

NOW = datetime(2026, 11, 23, 4, 10, tzinfo=UTC)
HEAD = 'version = 1\nid = "p"\ntitle = "<b>x</b> & y"\ntenant = "imari"\nhome = "saga"\npeople_confirmed = 2026-11-01\n'


def facts(**changed) -> RunbookFacts:
    known = {
        "file": "p.toml", "digest": "ab" * 32, "site": SiteId("kyoto"), "officers": [("mori", "森"), ("abe", "")],
        "approvals": 2, "seconds": {}, "proof": Proof.NEVER, "proved_at": None, "now": NOW,
        "show": lambda moment: moment.isoformat(), "show_day": lambda day: day.isoformat(),
    }
    return RunbookFacts(**{**known, **changed})


@st.composite
def plans(draw) -> Plan:
    count = draw(st.integers(1, 8))
    text = HEAD
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        text += (
            f'[[step]]\nid = "s{number}"\nkind = "confirm"\nquestion = "question {number}?"\n'
            f'tier = {draw(st.integers(1, 5))}\nneeds = [{", ".join(f"{chr(34)}s{need}{chr(34)}" for need in needs)}]\n'
        )
    return parse_plan(text)


@settings(deadline=None, max_examples=60)
@given(plans())
def test_the_order_is_that_of_a_run_and_every_step_and_question_stands_on_the_paper(plan: Plan) -> None:
    states = {step.id: StepState.PENDING for step in plan.steps}
    order = []
    while (step := next_step(plan, Standing(states))) is not None:
        order.append(step.id)
        states[step.id] = StepState.DONE
    assert [step.id for step in ordered_steps(plan)] == order
    known = facts(seconds={plan.steps[0].id: 120.0})
    sections = runbook(plan, known)
    for render in (runbook_page, runbook_text):
        shown = unescape(render(plan, sections, known))
        places = [shown.index(f"question {step.id[1:]}?") for step in ordered_steps(plan)]
        assert places == sorted(places)
        assert all(re.search(rf"recovery answer RUN\s+{step.id} yes", shown) for step in plan.steps)
    document = runbook_document(plan, known)
    assert [step["step"] for step in document["steps"]] == order


def town() -> Plan:
    return load_plan("config/plans/town.toml")


def test_people_places_and_officers_stand_there_and_a_stale_list_is_called_so() -> None:
    plan = town()
    text = runbook_text(plan, runbook(plan, facts()), facts())
    for person in plan.people:
        assert person.name in text and person.telephone in text
    assert all(place.where in text for place in plan.places)
    assert "OLDER THAN" not in text
    late = facts(now=NOW + timedelta(days=400))
    assert "OLDER THAN" in runbook_text(plan, runbook(plan, late), late)
    assert not people_are_fresh(parse_plan(HEAD.replace("people_confirmed = 2026-11-01\n", "") + STEP), date.max)


STEP = '[[step]]\nid = "s"\nkind = "confirm"\nquestion = "<script>alert(1)</script>"\n'


def test_what_operators_write_cannot_become_markup() -> None:
    plan = parse_plan(HEAD + STEP + '[[place]]\nwhat = "<img src=x>"\nwhere = "</style><i>"\n')
    page = runbook_page(plan, runbook(plan, facts()), facts(site=SiteId('"} </style>')))
    assert "<script>alert" not in page and "<img" not in page and "</style><i>" not in page and "<b>x" not in page
    assert page.count("</style>") == 2


@pytest.mark.parametrize("wrong", [
    '[[person]]\nname = "a"\nrole = "b"\ntelephone = "none"\n',
    '[[person]]\nname = "a"\nrole = "b"\n',
    '[[place]]\nwhat = "shares"\n',
    'people_within = "x"\n',
])
def test_what_is_no_telephone_or_lacks_something_is_refused(wrong: str) -> None:
    first = HEAD + wrong if "=" in wrong.splitlines()[0] else HEAD
    with pytest.raises(ConfigError):
        parse_plan(first + STEP + (wrong if first == HEAD else ""))
