"""What was known of a site when people decided, on paper (A4): rows for what is still to be asked, and signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from jbackupd.continuity.decision import ITEMS, SAYS
from jbackupd.continuity.page import boxes, heading, page_of, table
from jbackupd.model.texts import _

BLANK_ROWS = 1
_STYLE = """
@page { size: A4; margin: 13mm 13mm 15mm;
  @bottom-left { content: "FOOT"; font-size: 7.5pt; font-family: monospace }
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt } }
body { font-size: 9.5pt; line-height: 1.4; max-width: 64em } h2 { break-after: avoid; margin: 1em 0 .3em }
.asked td { height: 2.3em } .asked td:nth-child(1) { width: 22% } .asked td:nth-child(2) { width: 11% }
.asked td:nth-child(4) { width: 12% } .asked td:nth-child(5) { width: 16% } .signed td { height: 2.8em }
"""
Show = Callable[[datetime], str]


def evidence_page(document: Mapping[str, Any], show: Show) -> str:
    """Return the page in the current language, complete in itself.

    Args:
        document: Of the verb `site.evidence`.
        show: Writes a moment for people.
    """
    title = _("Evidence about {site}").format(site=document["about"])
    foot = f"{document['about']} {document['declaration'] or ''} {document['digest'] or ''}".strip()
    style = _STYLE.replace("FOOT", foot.replace("\\", "").replace('"', ""))
    return page_of(title, [
        f"<style>{style}</style>", boxes(), heading(title, "h1"), _facts(document, show),
        heading(_("Last contact of each site with it")), _contacts(document, show),
        heading(_("Its newest points that are here")), _datasets(document, show),
        heading(_("What people asked and saw")), _checklist(document, show),
        heading(_("Signatures")),
        table([["&nbsp;"] * 4] * 3, map(escape, [_("name"), _("role"), _("when"), _("signature")]), kind="signed",
              raw=True),
    ])


def moment_text(text: str | None, show: Show) -> str:
    """Return a moment of a document for people; a dash for none."""
    return show(datetime.fromisoformat(text)) if text else "-"


def _facts(document: Mapping[str, Any], show: Show) -> str:
    rows = [
        [_("collected at"), f"{document['by']}, {moment_text(document['at'], show)}"],
        [_("first suspicion"), moment_text(document["suspected_at"], show)],
    ]
    if document["declaration"]:
        rows.append([_("part of the declaration"), document["declaration"]])
        rows.append([_("BLAKE3 of the evidence, which officers signed"), document["digest"]])
    else:
        rows.append([_("part of the declaration"), _("of none yet: what officers sign is collected when one is begun")])
    return table(rows)


def _contacts(document: Mapping[str, Any], show: Show) -> str:
    rows = [
        [
            each["site"],
            _("no answer") if each["error"]
            else _("in contact now") if each["up"] else moment_text(each["last_contact"], show),
            moment_text(each["last_receipt"], show),
        ]
        for each in document["contacts"]
    ]
    return table(rows, [_("site"), _("last contact"), _("its last receipt")])


def _datasets(document: Mapping[str, Any], show: Show) -> str:
    rows = []
    for each in document["datasets"]:
        if "error" in each:
            rows.append([each["dataset"], each["error"], "", ""])
            continue
        signed = ", ".join(f"{receipt['site']} @{receipt['sequence']}" for receipt in each["receipts"])
        verified = _("{verified} of {objects} objects").format(**each)
        if each["unsound"]:
            verified += " / " + _("{count} DAMAGED").format(count=each["unsound"])
        elif each["verified_since"]:
            verified += " / " + _("all since {time}").format(time=moment_text(each["verified_since"], show))
        rows.append([
            f"{each['dataset']}@{each['sequence']}", moment_text(each["taken_at"], show), signed or "-", verified,
        ])
    if not rows:
        return f"<p>{escape(_('nothing that it made is here'))}</p>"
    return table(rows, [_("point"), _("taken"), _("signed for by"), _("verified here")])


def _checklist(document: Mapping[str, Any], show: Show) -> str:
    found = [
        [_(ITEMS.get(each["item"], each["item"])), _(SAYS.get(each["says"], each["says"])), each["words"], each["by"],
         moment_text(each["at"], show)]
        for each in document["checklist"]
    ]
    asked = {each["item"] for each in document["checklist"]}
    rest = [[_(text), "", "", "", ""] for item, text in ITEMS.items() if item not in asked and item != "other"]
    blank = [[_(ITEMS["other"]), "", "", "", ""]] * BLANK_ROWS
    head = [_("asked"), _("says"), _("what was found"), _("who"), _("when")]
    return table([*found, *rest, *blank], head, kind="asked")
