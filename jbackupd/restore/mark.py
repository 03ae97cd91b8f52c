"""The mark in a folder of a restore that has begun and not ended: of which point, and by which rule.

It is durable before anything else is written, and goes after everything else is durable. So a second run
knows whether what differs from the point is its own half-done work, or something that people did since.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass

from jbackupd.model.errors import RefusedError
from jbackupd.restore.options import Conflict, RestoreOptions
from jbackupd.restore.partial import new_partial
from jbackupd.storage.beneath import Beneath, Inside, typing

MARK = b".jb-restore-unfinished"
MARK_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """What an unfinished restore is.

    Attributes:
        point: As `RestoreOptions.label`.
        conflict: The rule that it began with.
        was_empty: The folder held nothing when it began: what is there now is its own.
    """

    point: str
    conflict: Conflict
    was_empty: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """What a restore finds in its target.

    Attributes:
        rule: What to do with what is there and differs.
        is_ours: Nothing is there but what this restore put there, which nobody uses before its end.
        is_empty: Nothing is there at all.
    """

    rule: Conflict
    is_ours: bool
    is_empty: bool


def begin(beneath: Beneath, options: RestoreOptions) -> Ground:
    """Mark a target, or go on with what is marked.

    Raises:
        RefusedError: The target holds something, or the unfinished restore of another point, and nobody said
            what shall happen to it.
    """
    with beneath.inside(b"") as top:
        mark = _read(top, beneath.path)
        if mark is not None and options.resume:
            _check_same(mark, options, beneath.path)
            rule = Conflict.OVERWRITE if mark.was_empty else mark.conflict
            return Ground(rule, mark.was_empty, is_empty=False)
        others = [name for name in top.names() if name != MARK]
        if options.conflict is Conflict.REFUSE and others and not options.resume:
            _refuse(mark, beneath.path)
        # Resumed where no restore of ours is under way: what is right is kept, what differs was changed by
        # somebody. Marked all the same: who is killed now has left half-done work.
        _write(top, Mark(options.label, options.conflict, was_empty=not others), beneath.path)
        return Ground(options.conflict, is_ours=not others, is_empty=not others)


def end(beneath: Beneath) -> None:
    """Make everything durable, then take the mark away."""
    beneath.sync()
    with beneath.inside(b"") as top:
        if top.status(MARK) is not None:
            top.remove(MARK)
            with typing("sync", MARK, beneath.path):
                os.fsync(top.descriptor)


def _refuse(mark: Mark | None, target: str) -> None:
    if mark is None:
        raise RefusedError(
            "unable to restore into {target}: it is not empty",
            "name a new folder, or say with --conflict what shall happen to what is there", target=target,
        )
    raise RefusedError(
        "unable to restore into {target}: a restore of {point} was begun there and has not ended",
        "go on with --resume, or name a new folder", target=target, point=mark.point,
    )


def _check_same(mark: Mark, options: RestoreOptions, target: str) -> None:
    if mark.point != options.label:
        raise RefusedError(
            "unable to go on in {target}: a restore of {begun} was begun there, not of {point}",
            "name {begun}, or a new folder: two points must not be mixed",
            target=target, begun=mark.point, point=options.label,
        )


def _read(top: Inside, target: str) -> Mark | None:
    if top.status(MARK) is None:
        return None
    descriptor = top.open_file(MARK)
    try:
        with typing("read", MARK, target):
            fields = json.loads(os.read(descriptor, MARK_BYTES_MAX))
        conflict = Conflict(fields["conflict"])
        # Version 0.1.0 did not write it: then only what refuses had begun in an empty folder for certain.
        return Mark(str(fields["point"]), conflict, bool(fields.get("was_empty", conflict is Conflict.REFUSE)))
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            "unable to restore into {target}: its mark of an unfinished restore is not readable",
            "name a new folder, or remove {mark} there", target=target, mark=os.fsdecode(MARK),
        ) from error
    finally:
        os.close(descriptor)


def _write(top: Inside, mark: Mark, target: str) -> None:
    fields = {"point": mark.point, "conflict": mark.conflict.value, "was_empty": mark.was_empty}
    text = json.dumps(fields) + "\n"
    partial = new_partial()
    descriptor = top.create(partial)
    try:
        with typing("write", MARK, target):
            os.write(descriptor, text.encode("ascii"))
            os.fsync(descriptor)
        top.rename(partial, MARK)
        with typing("sync", MARK, target):
            os.fsync(top.descriptor)
    except Exception:
        with suppress(Exception):
            top.remove(partial)
        raise
    finally:
        os.close(descriptor)
