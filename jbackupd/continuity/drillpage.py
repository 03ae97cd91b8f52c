"""A drill's record as one printable page (A4), with boxes for those who approve it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from jbackupd.continuity.drill import DrillRecord
from jbackupd.continuity.drilltelling import count_words, facts_of, trace_words
from jbackupd.continuity.page import boxes, heading, page_of, table
from jbackupd.continuity.telling import detail_text, kind_text, reached_rows, state_text
from jbackupd.model.texts import _


def drill_page(record: DrillRecord, show: Callable[[datetime], str]) -> str:
    """Return the page in the current language.

    Args:
        show: Writes a moment for people.
    """
    report = record.report
    parts = [
        boxes(),
        heading(_("Record of a drill"), "h1"),
        table([[name, value] for name, value in facts_of(record, show)], kind="facts"),
    ]
    if report is not None:
        parts += [
            heading(_("Reached against target")),
            table(reached_rows(report), ["", _("reached"), _("target"), _("verdict")]),
            heading(_("Steps")),
            table(
                (
                    [
                        step["step"], kind_text(step["kind"]), state_text(step["state"]),
                        "-" if step["seconds"] is None else f"{step['seconds']:.1f} s", detail_text(step["detail"]),
                    ]
                    for step in report["steps"]
                ),
                [_("step"), _("what"), _("state"), _("time"), _("result")], kind="list",
            ),
        ]
    parts += [
        heading(_("Counts")),
        table(
            (
                [count.step, count_words(count.what), f"{count.expected:,}", f"{count.found:,}",
                 _("matched") if count.matched else _("NOT MATCHED")]
                for count in record.counts
            ),
            [_("step"), _("what"), _("expected"), _("found"), _("verdict")],
        ),
        heading(_("Isolation: what was tried to get out")),
        table(([way] for way in record.isolation), [_("address and how it failed")]),
        heading(_("Proof of deletion")),
        table(
            (
                [trace_words(trace.what), trace.looked_at, "、".join(trace.found) or _("nothing left")]
                for trace in record.traces
            ),
            [_("what"), _("where it was looked for"), _("found")],
        ),
        heading(_("Problems")),
        table([[problem] for problem in record.problems] or [[_("none")]], [_("what was not as it should be")]),
        heading(_("Remarks")),
        table([["<br><br><br>"]], kind="remarks", raw=True),
    ]
    return page_of(record.name, parts)
