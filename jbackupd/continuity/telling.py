"""A run's report in words, for the command line and the printed page: the document of `report`, translated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jbackupd.model.reasons import in_words
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_duration, show_size

Document = Mapping[str, Any]


def state_text(state: str) -> str:
    """Return a step's state in words."""
    return {
        "pending": _("not begun"), "running": _("under way"), "done": _("done"), "failed": _("failed"),
        "skipped": _("left out"), "omitted": _("not in this mode"), "undoing": _("being undone"),
        "undone": _("undone"), "stuck": _("could not be undone"),
    }[state]


def kind_text(kind: str) -> str:
    """Return a step's kind in words."""
    return {
        "unlock": _("recover keys"), "restore": _("restore"), "inspect": _("inspect files"), "desk": _("open desk"),
        "check": _("check"), "fence": _("fence"), "export": _("export"), "mount": _("mount"),
        "postgres": _("start PostgreSQL"), "service": _("start service"), "confirm": _("ask people"),
        "notify": _("tell people"), "hook": _("turn traffic"),
    }.get(kind, kind)


def event_text(entry: Document) -> str:
    """Return an entry of the timeline in words."""
    words = {
        "lost": _("the home site is lost"), "declared": _("the loss is declared"),
        "suspected": _("somebody notes that something is wrong"), "approved": _("the declaration is in force"),
        "run": _("the run begins"),
        "resume": _("the run is resumed"), "end": _("the run ends"), "proved": _("the run ends, proved"),
        "begin": _("begins"), "finish": _("done"), "fail": _("failed"), "skip": _("left out"), "again": _("again"),
        "omit": _("not in this mode"), "undo": _("is undone"), "undone": _("undone"), "stick": _("could not be undone"),
        "answer": _("a person answers: {choice} ({by})"), "commit": _("the commit ({by})"),
        "rollback": _("everything is undone ({by}): {reason}"), "notice": _("notice: {text}"),
        "waiting": _("waits: {reason}"), "damage": _("cannot be read: {path}: {reason}"),
        "whole": _("all of {point} is there"), "not-whole": _("something of {point} could not be brought"),
        "unmounted": _("the mount of {point} has ended by itself; resume the run"),
        "ended": _("the service has ended by itself with {code}; see its log {log}, then resume the run"),
        "clean": _("what it laid out is being removed"), "cleaned": _("what it laid out is removed"),
    }
    word = words[entry["event"]]
    if "{" in word:
        word = word.format(**{**entry, "by": entry.get("by") or _("by the plan itself")})
    return f"{entry['step']}: {word}" if "step" in entry else word


CHOICES = {
    "failed": ("retry", "continue", "halt", "rollback"), "confirm": ("yes", "no"), "commit": ("commit", "rollback"),
}
"""What may be said to each kind of question."""


def asks_text(asked: Document, run: str) -> list[str]:
    """Return what people are asked, in words, and the command that answers."""
    step = asked["step"]
    match asked["kind"]:
        case "commit":
            return [
                _("everything is up; look at it, then decide:"),
                f"  jbackupd recovery commit {run}",
                f"  jbackupd recovery rollback {run} --reason ...",
            ]
        case "confirm":
            who = _(" (asked of {who})").format(who=asked["who"]) if asked.get("who") else ""
            question = f"{step}: {asked['question']}{who}"
        case _:
            question = _("{step} has failed: what shall happen?").format(step=step)
    return [question, f"  jbackupd recovery answer {run} {step} {'|'.join(CHOICES[asked['kind']])}"]


def after_text(document: Document, entry: Document) -> str:
    """Return how long after the moment that RTO counts from an entry of the timeline happened."""
    begin = datetime.fromisoformat(document[document["counted_from"]])
    seconds = (datetime.fromisoformat(entry["at"]) - begin).total_seconds()
    return f"{'-' if seconds < 0 else '+'}{show_duration(abs(seconds))}"


def outcome_text(document: Document) -> str:
    """Return what a run came to, in a word or two, and whether what it laid out is still there."""
    came_to = _came_to(document)
    if document["cleaned"] is not None:
        return _("{outcome}; what it laid out is removed").format(outcome=came_to)
    if document["clean_begun_at"] is not None:
        return _("{outcome}; what it laid out is removed in part: clean it again").format(outcome=came_to)
    return came_to


def _came_to(document: Document) -> str:
    if document["rollback"] is not None and document["over"]:
        stuck = document["rollback"]["stuck"]
        return _("undone, except {steps}").format(steps=", ".join(stuck)) if stuck else _("undone")
    if document["proved"]:
        return _("proved: every step is done")
    if document.get("under_way"):
        return _("waits for people") if document["asks"] else _("under way")
    if document["over"] and document["back"]:
        return _("services are back, with gaps")
    if document["over"]:
        return _("ended with failures")
    return _("given up") if document["clean_begun_at"] else _("interrupted; it waits to be resumed")


def detail_text(detail: Document) -> str:
    """Return what a step came to, on one line; empty if there is nothing to say."""
    parts: list[str] = []
    if "shares" in detail:
        parts.append(counted("{count} share", "{count} shares", detail["shares"]))
    if "point" in detail:
        files = counted("{count} file", "{count} files", detail.get("files", 0))
        parts.append(f"{detail['point']}, {files}, {show_size(detail.get('bytes', 0))}")
    if detail.get("incomplete"):
        parts.append(_("the point is incomplete: something could not be read when it was taken"))
    if detail.get("fetched_from"):
        parts.append(_("fetched from {site}").format(site=detail["fetched_from"]))
    if "inspected" in detail:
        parts.append(counted(
            "{count} file, {inspected} looked at", "{count} files, {inspected} looked at", detail["files"],
            inspected=detail["inspected"],
        ))
    if "url" in detail:
        parts.append(counted(
            "{url}, {count} resident; first sign-in: {file}", "{url}, {count} residents; first sign-in: {file}",
            detail["residents"], url=detail["url"], file=detail["passwords_file"],
        ))
    if "look_ups" in detail:
        parts.append(counted(
            "{count} look-up, as of {as_of}", "{count} look-ups, as of {as_of}", detail["look_ups"],
            as_of=detail["as_of_shown"],
        ))
    if "told" in detail:
        parts.append(_("told: {sites}").format(sites=", ".join(detail["told"]) or "-"))
    if "first_answer_seconds" in detail:
        parts.append(_first_answer(detail))
    shown = ("unit", "program", "image", "answered", "value", "notice")
    parts += [str(detail[key]) for key in shown if key in detail]
    if "error" in detail:
        parts.append(error_text(detail["error"]))
    return ", ".join(parts)


def _first_answer(detail: Document) -> str:
    fields = {"listen": detail["listen"], "time": show_duration(detail["first_answer_seconds"])}
    if detail.get("data_whole", True):
        return _("{listen}, first query answered after {time}").format(**fields)
    return _("{listen}, first query answered after {time}, while the rest was still being brought").format(**fields)


def error_text(error: Document) -> str:
    """Return an error of a journal in the current language; in English if it has no template."""
    template = error.get("template", "")
    try:
        fields = {name: in_words(value) for name, value in error["fields"].items()}
        return _(template).format(**fields) if template else str(error["message"])
    except (KeyError, IndexError, ValueError):
        return str(error["message"])


def alarms_of(document: Document) -> list[str]:
    """Return what the other sites' answers warn of, each once."""
    found = [alarm for step in document["steps"] for alarm in step["detail"].get("alarms", ())]
    found += [error for step in document["steps"] for error in step["detail"].get("damaged_keys", ())]
    return list(dict.fromkeys(found))


def reached_rows(document: Document) -> list[tuple[str, str, str, str]]:
    """Return name, reached, target and verdict of RTO and RPO; what is not known yet is a dash."""
    rows = []
    for name, key in ((_("recovery time (RTO)"), "rto"), (_("age of the data (RPO)"), "rpo")):
        reached, met = document[f"{key}_seconds"], document[f"{key}_met"]
        rows.append((
            name, "-" if reached is None else show_duration(reached), show_duration(document[f"{key}_target_seconds"]),
            "-" if met is None else _("within the target") if met else _("missed"),
        ))
    return rows


def times_of(document: Document, show: Callable[[datetime], str]) -> list[tuple[str, str]]:
    """Return the moments that count, and the time spent before the run and in it."""
    names = (
        (_("loss of the home site"), "lost_at"), (_("first suspicion"), "suspected_at"),
        (_("time of the declaration"), "declared_at"), (_("approved, in force"), "approved_at"),
        (_("begin of the run"), "begun_at"), (_("services back"), "back_at"), (_("end of the run"), "ended_at"),
    )
    # What people noted is there only where they noted it, and not in reports of older versions.
    rows = [
        (name, show(datetime.fromisoformat(document[key])) if document[key] else "-") for name, key in names
        if document.get(key) or key not in ("suspected_at", "approved_at")
    ]
    basis = {
        "lost_at": _("from the loss to the run's begin"), "declared_at": _("from the declaration to the run's begin"),
        "begun_at": _("the loss was not recorded"),
    }[document["counted_from"]]
    rows.append((_("time to decide"), f"{show_duration(document['decision_seconds'])} ({basis})"))
    if document.get("approval_seconds") is not None:
        rows.append((_("of it from the first suspicion to the approval"), show_duration(document["approval_seconds"])))
    technical = document["technical_seconds"]
    rows.append((_("technical time"), "-" if technical is None else show_duration(technical)))
    return rows
