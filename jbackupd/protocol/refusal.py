"""Errors across the line: our tree to an Error message and back to the same class.

Texts from a peer are not trusted: they are cut, freed of control characters, and become a field of a
template of ours, never a template themselves.
"""

from __future__ import annotations

from jbackupd.model.errors import (
    ChainError,
    DamageError,
    FencedError,
    IdentityError,
    JbackupdError,
    MissingObjectError,
    PeerError,
    ProtocolError,
)
from jbackupd.model.ids import SiteId
from jbackupd.model.texts import to_translate
from jbackupd.protocol.messages import Error

TEXT_CHARACTERS_MAX = 1000


def _classes(root: type[JbackupdError]) -> dict[str, type[JbackupdError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        for code, kind in _classes(child).items():
            found.setdefault(code, kind)
    return found


def closes_link(error: JbackupdError) -> bool:
    """Tell whether a side that meets this error stops listening to the other.

    So it is where the other side is wrong or hostile: a broken protocol, wrong bytes under a name, a step back in a
    chain, an old epoch. What the other can put right by itself (space, a missing object, a refusal) is only answered.
    """
    if isinstance(error, MissingObjectError):
        return False
    return isinstance(error, (ProtocolError, IdentityError, DamageError, ChainError, FencedError))


def to_message(error: JbackupdError, *, closing: bool) -> Error:
    """Return an error as a message."""
    hint = error.render(error.hint)
    return Error(code=error.code, message=_clean(str(error)), hint=_clean(hint), closing=closing)


def from_message(site: SiteId, message: Error) -> JbackupdError:
    """Return the error that a site answered with; a code that this version does not know is a PeerError."""
    kind = _classes(JbackupdError).get(message.code, PeerError)
    return kind(
        to_translate("{site} answers: {reason}"), "{advice}", site=site, reason=_clean(message.message),
        advice=_clean(message.hint),
    )


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:TEXT_CHARACTERS_MAX])
