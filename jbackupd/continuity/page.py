"""A run's report as one printable page (A4), complete in itself: for the mayor, the auditor and the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from html import escape

from jbackupd.continuity.telling import (
    Document,
    after_text,
    alarms_of,
    detail_text,
    event_text,
    kind_text,
    outcome_text,
    reached_rows,
    state_text,
    times_of,
)
from jbackupd.model.texts import _, language

APPROVAL_BOXES = 4
_STYLE = """
@page { size: A4; margin: 16mm }
body { font: 10.5pt/1.5 "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", sans-serif }
body { margin: 2em auto; max-width: 48em }
h1 { font-size: 16pt; margin: 0 } h2 { font-size: 12pt; margin: 1.4em 0 .4em }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { border: 1px solid #555; padding: .2em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { background: #eee; font-weight: 600 } .boxes { width: auto; float: right } .boxes td { width: 5em; height: 3.4em }
.boxes th { text-align: center } .list td:not(:last-child), .list th { white-space: nowrap }
.alarm { border: 2px solid #000; padding: .3em .8em }
"""


def run_page(document: Document, show: Callable[[datetime], str]) -> str:
    """Return the page in the current language.

    Args:
        document: Of `report.run_document`.
        show: Writes a moment for people.
    """
    alarms = alarms_of(document)
    parts = [
        boxes(),
        heading(_("Report of a recovery run"), "h1"),
        f"<p>{escape(document['title'])}<br>{escape(outcome_text(document))}</p>",
        table([
            [_("run"), document["run"]], [_("municipality"), document["tenant"]], [_("plan"), document["plan"]],
            [_("lost site"), document["home"]], [_("declaration"), document["declaration"] or "-"],
            *([name, value] for name, value in times_of(document, show)),
        ]),
        heading(_("Reached against target")),
        table(reached_rows(document), ["", _("reached"), _("target"), _("verdict")]),
        heading(_("Alarms")) if alarms else "",
        *(f'<p class="alarm">{escape(alarm)}</p>' for alarm in alarms),
        heading(_("Steps")),
        table(
            (
                [
                    step["step"], kind_text(step["kind"]), state_text(step["state"]),
                    "-" if step["seconds"] is None else f"{step['seconds']:.1f} s", detail_text(step["detail"]),
                ]
                for step in document["steps"]
            ),
            [_("step"), _("what"), _("state"), _("time"), _("result")], kind="list",
        ),
        heading(_("Timeline")),
        table(
            (
                [show(datetime.fromisoformat(entry["at"])), after_text(document, entry), event_text(entry)]
                for entry in document["timeline"]
            ),
            [_("when"), _("after"), _("what")], kind="list",
        ),
    ]
    return page_of(document["run"], parts)


def page_of(title: str, parts: Iterable[str]) -> str:
    """Return a page to print of its parts, complete in itself."""
    return (
        f'<!doctype html>\n<html lang="{language()}"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n" + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def boxes() -> str:
    """Return the boxes for those who approve (決裁欄)."""
    return table([["&nbsp;"] * APPROVAL_BOXES], [_("approved")] + [""] * (APPROVAL_BOXES - 1), kind="boxes", raw=True)


def heading(text: str, level: str = "h2") -> str:
    """Return a heading."""
    return f"<{level}>{escape(text)}</{level}>"


def table(
    rows: Iterable[Iterable[str]], head: Iterable[str] = (), *, kind: str = "", raw: bool = False
) -> str:
    """Return a table; without a head line the first cell of each row is its head."""
    clean: Callable[[str], str] = str if raw else escape
    head = list(head)
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"] if head else []
    for row in rows:
        cells = [f"<td>{clean(cell)}</td>" for cell in row]
        if not head:
            cells[0] = cells[0].replace("<td>", "<th>").replace("</td>", "</th>")
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return f'<table class="{kind}">' + "".join(lines) + "</table>"
