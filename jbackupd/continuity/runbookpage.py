"""A runbook on paper (A4), and as text for a machine without a browser."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

from jbackupd.continuity.page import boxes, heading, page_of
from jbackupd.continuity.runbook import DIGEST_SHOWN, Block, RunbookFacts, Section
from jbackupd.model.texts import _
from jbackupd.settings.plan import Plan

TEXT_COLUMNS = 100
_STYLE = """
@page { size: A4; margin: 14mm 12mm 16mm;
  @bottom-left { content: "FOOT"; font-size: 8pt }
  @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt } }
body { font-size: 11pt; max-width: 60em; margin: 0 auto } section { break-inside: auto } h2 { break-after: avoid }
pre { border: 1.5px solid #000; padding: .4em .7em; font: 10pt/1.6 "Noto Sans Mono CJK JP", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .4em 0; break-inside: avoid }
table.facts th { white-space: nowrap } td.box { font-size: 14pt; width: 1.2em }
table.steps { font-size: 9.5pt } td.blank { min-width: 4.5em } thead { display: table-header-group }
.stamp { font-size: 9pt } .mine { font-weight: 700 }
"""


def runbook_page(plan: Plan, sections: Sequence[Section], facts: RunbookFacts) -> str:
    """Return the page to print, in the current language, complete in itself."""
    foot = f"{plan.id}  {facts.digest[:DIGEST_SHOWN]}  {facts.site}  {facts.show(facts.now)}"
    style = _STYLE.replace("FOOT", _css_text(foot))
    parts = [f"<style>{style}</style>", boxes(), heading(_("Emergency runbook"), "h1"),
             f"<p>{escape(plan.title)}</p>"]
    for number, section in enumerate(sections, start=1):
        parts.append("<section>" + heading(f"{number}. {section.title}"))
        parts += [part for block in section.blocks for part in _html(block)]
        parts.append("</section>")
    return page_of(f"{_('Emergency runbook')}: {plan.title}", parts)


def runbook_text(plan: Plan, sections: Sequence[Section], facts: RunbookFacts) -> str:
    """Return the runbook as text, for a printer without a browser."""
    lines = [f"{_('Emergency runbook')}: {plan.title}", f"{plan.id}  {facts.digest}", ""]
    for number, section in enumerate(sections, start=1):
        lines += [f"== {number}. {section.title} ==", ""]
        for block in section.blocks:
            lines += [*_text(block), ""]
    return "\n".join(lines) + "\n"


def _html(block: Block) -> Iterator[str]:
    if block.text:
        yield f"<p>{escape(block.text)}</p>"
    if block.commands:
        yield "<pre>" + "\n".join(escape(command) for command in block.commands) + "</pre>"
    if block.rows:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in block.head)
        body = "".join("<tr>" + "".join(_cells(row, block)) + "</tr>" for row in block.rows)
        kind = "steps" if len(block.head) > 6 else "facts"
        yield f'<table class="{kind}">' + (f"<thead><tr>{head}</tr></thead>" if head else "") + f"{body}</table>"


def _cells(row: Sequence[str], block: Block) -> Iterator[str]:
    for place, cell in enumerate(row):
        if not block.head and place == 0:
            yield f"<th>{escape(cell)}</th>"
            continue
        kind = ' class="blank"' if block.head and place == len(row) - 1 and not cell else ""
        kind = ' class="box"' if cell == "□" else kind
        lines = [
            f'<span class="mine">{escape(line)}</span>' if line.startswith("▶") else escape(line)
            for line in cell.split("\n")
        ]
        yield f"<td{kind}>" + "<br>".join(lines) + "</td>"


def _text(block: Block) -> Iterator[str]:
    if block.text:
        yield from _wrapped(block.text, TEXT_COLUMNS)
    yield from (f"    $ {command}" for command in block.commands)
    for row in block.rows:
        if not block.head:
            yield f"  {row[0]}: {row[1]}"
            continue
        named = [
            f"{name}: {cell}" if name else cell for name, cell in zip(block.head, row, strict=True) if cell or name
        ]
        lines = " | ".join(part.replace("\n", " / ") for part in named)
        yield from (("  " if number == 0 else "      ") + line
                    for number, line in enumerate(_wrapped(lines, TEXT_COLUMNS - 6)))


def _wrapped(text: str, columns: int) -> Iterator[str]:
    """Yield lines of at most so many columns; wide characters take two."""
    line, width = "", 0
    for char in text:
        wide = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if width + wide > columns:
            cut = line.rfind(" ") if char != " " and " " in line[columns // 2 :] else len(line)
            yield line[:cut]
            line = line[cut:].lstrip()
            width = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in line)
            if not line and char == " ":
                continue
        line, width = line + char, width + wide
    if line:
        yield line


def _css_text(text: str) -> str:
    """Return a text for a CSS string: nothing of it ends the string or the style."""
    return "".join(char if char.isalnum() or char in " :.()-_/" else f"\\{ord(char):x} " for char in text)
