"""What of a resident may be shown: addresses of people under support measures (支援措置) never are.

Without flags, or with flags older than the data, nobody knows who is under protection: then no
address is shown at all. A flag holds for the whole household, which shares the address (database.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from jbackupd.desk.database import Facts
from jbackupd.desk.residents import Resident


class Mask(Enum):
    """Why an address is not shown."""

    NONE = "none"
    RESTRICTED = "restricted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Shown:
    """A resident as a page may show it.

    Attributes:
        address: Address lines; empty if masked.
        domicile: 本籍, which leads to addresses as well; empty if masked, as are ward and shelter.
    """

    resident: Resident
    mask: Mask
    address: tuple[str, ...]
    domicile: str
    ward: str = ""
    shelter: str = ""


def show(resident: Resident, facts: Facts) -> Shown:
    """Return what may be shown of a resident."""
    mask = mask_of(resident, facts)
    if mask is not Mask.NONE:
        return Shown(resident, mask, (), "")
    lines = (resident.address, resident.town + resident.lot, resident.building)
    address = tuple(line for line in lines if line)
    return Shown(resident, mask, address, resident.domicile, resident.ward, resident.shelter)


def mask_of(resident: Resident, facts: Facts) -> Mask:
    """Return why a resident's address must not be shown."""
    if resident.restricted:
        return Mask.RESTRICTED
    return Mask.NONE if facts.restrictions_trusted else Mask.UNKNOWN
