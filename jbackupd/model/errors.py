"""Every error a user may meet: one tree, each class with its exit code and retry advice.

An error says what happened, on what, and why; its hint says what to do next. Both are
English templates with named fields, so that the command line can translate the template
(gettext) and fill the fields in afterwards. Never put a secret into a field.

A broken invariant is a defect of ours: raise InvariantError, which is outside this tree and
is not meant to be caught.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar

from jbackupd.model.reasons import in_words
from jbackupd.model.texts import in_language


class Retry(Enum):
    """What a caller may do after an error."""

    NEVER = "never"
    """The same call fails again until a person changes something."""
    SAME = "same"
    """The same call may succeed at once."""
    LATER = "later"
    """The same call may succeed after a while."""
    RECONNECT = "reconnect"
    """The same call may succeed over a new connection."""


class JbackupdError(Exception):
    """Root of all errors that are reported to people.

    Args:
        message: English template: what, on what, why. Fields in str.format style.
        hint: English template: what to do next; may be empty.
        **fields: Values of the fields in both templates; of any name, since some come over the control socket.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"
    """A stable word for machines (--json, logs, protocol)."""
    retry: ClassVar[Retry] = Retry.NEVER

    def __init__(self, message: str, hint: str = "", /, **fields: object) -> None:
        self.message = message
        self.hint = hint
        self.fields = fields
        super().__init__(str(self))

    def render(self, template: str) -> str:
        """Return a (possibly translated) template with this error's fields filled in."""
        return filled(template, self.fields)

    def __str__(self) -> str:
        # Journals and machines read this: English, reasons of the system too.
        with in_language("en"):
            return self.render(self.message)


def filled(template: str, fields: Mapping[str, object]) -> str:
    """Return an error's (possibly translated) template with its fields filled in; as it is, if they do not fit."""
    try:
        return template.format(**{name: in_words(value) for name, value in fields.items()}) if fields else template
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        return template


class UsageError(JbackupdError):
    """The call itself is wrong."""

    exit_code = 2
    code = "usage"


class DamageError(JbackupdError):
    """Stored bytes are not what they must be. Nothing wrong was handed out as right."""

    exit_code = 4
    code = "damage"


class MissingObjectError(DamageError):
    """An object that a point needs is not there."""

    code = "missing-object"


class FormatError(DamageError):
    """Bytes do not follow their declared format."""

    code = "format"


class VersionError(FormatError):
    """Bytes follow a format or protocol version that this program does not know."""

    code = "version"


class RefusedError(JbackupdError):
    """A safety rule forbids it."""

    exit_code = 5
    code = "refused"


class ConfinementError(RefusedError):
    """A path would leave the restore target."""

    code = "confinement"


class FencedError(RefusedError):
    """A site acts with an epoch that is no longer in force."""

    code = "fenced"


class ChainError(RefusedError):
    """A point does not continue its dataset's chain: a gap, a fork or a step back."""

    code = "chain"


class ApprovalError(RefusedError):
    """An approval is of nobody known here, or does not fit what it stands under; the message names the officer."""

    code = "approval"


class KeyringError(JbackupdError):
    """A key is missing, wrong or damaged."""

    exit_code = 6
    code = "key"


class KeyMissingError(KeyringError):
    """This site does not hold the key that these bytes were sealed with."""

    code = "key-missing"


class ErasedError(KeyMissingError):
    """The key was destroyed on purpose; there is a record of it, and nobody can read what it sealed."""

    code = "erased"


class ShareError(KeyringError):
    """A share is damaged, foreign or missing; the message names it."""

    code = "share"


class BusyError(JbackupdError):
    """Somebody else holds what is needed."""

    exit_code = 7
    code = "busy"
    retry = Retry.LATER


class PeerError(JbackupdError):
    """A peer or the network failed."""

    exit_code = 8
    code = "peer"
    retry = Retry.RECONNECT


class ProtocolError(PeerError):
    """The other side broke the protocol; the link is closed."""

    code = "protocol"


class IdentityError(PeerError):
    """The other side is not who it must be."""

    code = "identity"
    retry = Retry.NEVER


class NoSpaceError(JbackupdError):
    """A disk or quota is full."""

    exit_code = 9
    code = "no-space"
    retry = Retry.LATER


class NotFoundError(JbackupdError):
    """What was named does not exist."""

    exit_code = 10
    code = "not-found"


class RemovedError(NotFoundError):
    """A point's content was given up here by its retention; there is a record of it."""

    code = "removed"


class NoDaemonError(NotFoundError):
    """No daemon answers for this state folder."""


class StorageError(JbackupdError):
    """A file operation failed."""

    code = "storage"


class ScriptError(JbackupdError):
    """A program of the operator's ended with an error, or something that it serves did not answer."""

    code = "script"


class SourceError(JbackupdError):
    """A dataset's source could not be read at all."""

    code = "source"


class TryLaterError(JbackupdError):
    """It cannot be done now."""

    exit_code = 75
    code = "try-later"
    retry = Retry.LATER


class ConfigError(JbackupdError):
    """What the operator wrote is wrong; the message names file and line."""

    exit_code = 78
    code = "configuration"


class InvariantError(AssertionError):
    """A defect of ours: something that cannot happen happened. Stop, do not go on."""


EXIT_OK = 0
EXIT_INCOMPLETE = 3
