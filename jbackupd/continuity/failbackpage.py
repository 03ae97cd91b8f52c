"""The failback queue on paper: one page of A4, to be ticked off by two people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from jbackupd.continuity.failback import STATE_WORDS, Task
from jbackupd.format.intakekinds import FieldType
from jbackupd.model.wareki import show_moment

_STYLE = """
@page { size: A4 landscape; margin: 12mm; }
body { font-family: "Noto Sans CJK JP", "Noto Sans JP", "Yu Gothic UI", Meiryo, sans-serif; font-size: 9.5pt; }
h1 { font-size: 15pt; margin: 0 0 1mm; } p { margin: 0 0 3mm; }
table { border-collapse: collapse; width: 100%; } thead { display: table-header-group; }
th, td { border: 0.4pt solid #000; padding: 1.2mm 1.8mm; text-align: left; vertical-align: top; }
th { background: #eee; white-space: nowrap; } tr { page-break-inside: avoid; }
.state { min-width: 15mm; word-break: keep-all; }
.number { white-space: nowrap; font-weight: bold; } .sign { width: 22mm; } .said { font-size: 8.5pt; }
"""
_HEADINGS = ("受付番号", "状態", "種別", "宛名番号・氏名・生年月日", "内容", "入力者", "確認者")


def queue_page(tasks: Sequence[Task], tenant: str, now: datetime) -> str:
    """Return the list as an HTML page; Japanese, as the people who work with it."""
    rows = "".join(map(_row, tasks))
    headings = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    return (
        '<!DOCTYPE html><html lang="ja"><head><meta charset="utf-8"><title>反映待ち一覧</title>'
        f"<style>{_STYLE}</style></head><body><h1>反映待ち一覧({escape(tenant)})</h1>"
        f"<p>{len(tasks)}件 / 作成: {show_moment(now)} / 入力した人と別の人が確認します。"
        "個人情報が載っています。終わったら廃棄します。</p>"
        f"<table><thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table></body></html>\n"
    )


def _row(task: Task) -> str:
    item = task.item
    persons = "<br>".join(
        escape(" ".join(filter(None, (one.number or "番号不明", one.name, one.kana, one.birth))))
        for one in item.persons
    )
    said = "、".join(
        f"{field.word}: {choice.word if field.type is FieldType.CHOICE and (choice := field.choice(value)) else value}"
        for field in item.spec.fields if (value := item.fields.get(field.name))
    )
    notes = [f"他の受付: {' '.join(task.twins)}"] if task.twins else []
    notes += [f"{later.number}: {later.reason}" for later in item.later]
    if task.outdated is not None:
        notes.append(f"{STATE_WORDS[task.outdated]}の後に変更あり")
    cells = (
        f'<td class="number">{escape(item.number)}</td>', f'<td class="state">{STATE_WORDS[task.state]}</td>',
        f"<td>{item.spec.word}</td>", f"<td>{persons}</td>",
        f'<td class="said">{"<br>".join(map(escape, [said, *notes]))}</td>',
        '<td class="sign"></td>', '<td class="sign"></td>',
    )
    return f"<tr>{''.join(cells)}</tr>"
