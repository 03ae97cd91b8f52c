"""What an account may do at a desk: rights, and roles that bundle them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from jbackupd.model.errors import ConfigError, NotFoundError
from jbackupd.model.texts import to_translate


class Right(Enum):
    """What an account may do at a desk."""

    LOOK_UP = "look-up"
    """Search, and see residents and households; what each role can."""
    PRINT = "print"
    """Print pages with residents on them: pages of other accounts come out of the printer empty."""
    LIST = "list"
    """Lists of many residents: by ward, by shelter."""
    TAKE_IN = "take-in"
    ISSUE = "issue"
    """Provisional forms, to be handed out."""
    REVEAL = "reveal"
    """See an address that is hidden, for a reason that is recorded."""
    SUPERVISE = "supervise"
    """Make, extend and stop accounts, and read who looked whom up."""


@dataclass(frozen=True, slots=True)
class Role:
    """A bundle of rights.

    Attributes:
        name: As accounts and settings write it.
        label: For people; to be translated if it is one of the built-in roles.
    """

    name: str
    label: str
    rights: frozenset[Right]


_PLAIN = frozenset({Right.LOOK_UP, Right.PRINT, Right.LIST, Right.TAKE_IN})
LOOK_UP = Role("look-up", to_translate("Looks up"), frozenset({Right.LOOK_UP}))
RECEPTION = Role("reception", to_translate("Takes in"), _PLAIN)
ISSUE = Role("issue", to_translate("Issues"), _PLAIN | {Right.ISSUE})
SUPERVISOR = Role("supervisor", to_translate("Supervises"), frozenset(Right))
BUILT_IN = (LOOK_UP, RECEPTION, ISSUE, SUPERVISOR)
ROLE_BEFORE_ROLES = ISSUE.name
"""What accounts have that were made before there were roles: what each account could do then."""


class Roles:
    """The roles of a desk: the built-in ones, and those of the settings, which may give a built-in one other rights.

    Args:
        own: Names and the rights' values, as the settings write them.

    Raises:
        ConfigError: A right is not known, or nobody could supervise.
    """

    def __init__(self, own: Mapping[str, Iterable[str]] | None = None) -> None:
        self._roles = {role.name: role for role in BUILT_IN}
        for name, rights in (own or {}).items():
            label = self._roles[name].label if name in self._roles else name
            self._roles[name] = Role(name, label, frozenset(map(_right, rights)) | {Right.LOOK_UP})
        if not any(Right.SUPERVISE in role.rights for role in self._roles.values()):
            raise ConfigError("no role of the desk may supervise", "give one the right 'supervise'")

    def __iter__(self) -> Iterator[Role]:
        return iter(self._roles.values())

    def get(self, name: str) -> Role:
        """Return a role.

        Raises:
            NotFoundError: There is none of this name; the hint names those that there are.
        """
        role = self._roles.get(name)
        if role is None:
            raise NotFoundError(
                "the desk has no role {name!r}", "there are: {roles}", name=name, roles=", ".join(self._roles)
            )
        return role

    def rights(self, name: str) -> frozenset[Right]:
        """Return the rights of a role; none for a role that the settings no longer have."""
        role = self._roles.get(name)
        return role.rights if role else frozenset()


def _right(value: str) -> Right:
    try:
        return Right(value)
    except ValueError as error:
        raise ConfigError(
            "{value!r} is no right of a desk", "there are: {rights}", value=value,
            rights=", ".join(right.value for right in Right),
        ) from error
