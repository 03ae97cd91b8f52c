"""An officer's codes on paper (A4): the only place where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from html import escape

from jbackupd.codec.dictated import show_digits
from jbackupd.continuity.codebook import CodeLine
from jbackupd.continuity.page import heading, page_of, table
from jbackupd.model.texts import _

_STYLE = """
@page { size: A4; margin: 12mm 12mm 14mm;
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt } }
body { font-size: 10pt; line-height: 1.45; max-width: 64em } ol { padding-left: 1.6em; margin: .5em 0 }
.secret { float: right; border: 1.5pt solid #000; padding: .1em .8em; font-weight: 700 }
.codes thead { display: table-header-group } .codes td { padding: .3em .4em; vertical-align: middle }
.codes th, .codes td:nth-child(3), .codes td:nth-child(4) { white-space: nowrap }
.codes td:nth-child(4) { font: 700 12.5pt/1.3 "Noto Sans Mono CJK JP", "DejaVu Sans Mono", monospace }
.codes td:nth-child(5) { width: 34% } .codes tr.new td { border-top: 2pt solid #000 }
"""


def codes_page(lines: Sequence[CodeLine], show: Callable[[datetime], str]) -> str:
    """Return the page in the current language, complete in itself.

    Args:
        lines: At least one, of one book.
        show: Writes a moment for people.
    """
    book = lines[0].promise.promise
    title = _("Approval by telephone: codes of {officer}").format(officer=book.officer)
    return page_of(title, [
        f"<style>{_STYLE}</style>",
        '<p class="secret">' + escape(_("STRICTLY SECRET")) + "</p>",
        heading(title, "h1"),
        table([
            [_("approving officer"), book.officer],
            [_("made"), show(book.made_at)],
            [_("valid until"), show(book.valid_until)],
        ]),
        "<ol>" + "".join(f"<li>{escape(rule)}</li>" for rule in _rules()) + "</ol>",
        _table(lines),
    ])


def _rules() -> Iterator[str]:
    yield _("Somebody calls and says that a site is lost. Hang up, and call back on the number that you know.")
    yield _("Ask what is known since when, which site acts, under which epoch, and the id of the declaration.")
    yield _("Read one code only: from a line with exactly this lost site, acting site and epoch. Digit by digit.")
    yield _("Whoever has told a code has approved, as with a signature; it cannot be taken back. Never read codes "
            "of one lost site and epoch for two acting sites: that stops both.")
    yield _("Strike the line out, and write down when, to whom, and the declaration's id. Never use it again.")
    yield _("Keep this page locked away; no copy, no photograph. Is it lost? Make new codes at once: these end then.")


def _table(lines: Sequence[CodeLine]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in (
        _("No."), _("lost → acts"), _("epoch"), _("code"), _("read out when, to whom, declaration"),
    ))
    rows, before = [], ""
    for line in lines:
        promise = line.promise.promise
        matter = f"{promise.lost} → {promise.acting}"
        kind = ' class="new"' if promise.lost != before else ""
        before = promise.lost
        cells = (str(promise.number), matter, str(promise.epoch), show_digits(line.code), "")
        rows.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<table class="codes"><thead><tr>{head}</tr></thead>' + "".join(rows) + "</table>"
