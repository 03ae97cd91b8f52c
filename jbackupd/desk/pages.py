"""How pages look: templates, and texts for values that are codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jbackupd.desk.database import Distrust, Facts
from jbackupd.desk.gaiji import STYLE_PATH, Font, mark_gaiji
from jbackupd.desk.intake_texts import INTAKE_FILTERS
from jbackupd.desk.masking import Mask, show
from jbackupd.desk.purposes import LABELS, Purpose, Reason
from jbackupd.desk.residents import Resident
from jbackupd.model.texts import _, counted, in_language
from jbackupd.model.wareki import JST, show_day, show_moment

BANNER = "縮退運転中"
"""On every page in every language: whoever sees a page or a print must know what it is."""
AS_OF = "基準日時"


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page says, whatever it is about.

    Attributes:
        title: The municipality's name, or whatever the desk is called.
        account: Who is signed in; empty if nobody is.
        form_token: For the forms of a signed-in clerk.
        path: Where the language switch leads back to.
        intake: Whether receptions are taken in here.
        reason: What residents are looked up for; None before it is chosen.
        rights: Values of the rights of who is signed in: what one may not do is not offered.
    """

    title: str
    language: str
    facts: Facts
    now: datetime
    account: str = ""
    form_token: str = ""
    path: str = "/"
    intake: bool = False
    rights: frozenset[str] = frozenset()
    reason: Reason | None = None


class Pages:
    """Renders templates; may be used from several threads.

    Args:
        font: Has shapes for characters that screens lack.
    """

    def __init__(self, font: Font | None = None) -> None:
        self._environment = Environment(
            loader=PackageLoader("jbackupd.desk"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, auto_reload=False,
        )
        self._environment.globals.update(_=_, counted=counted, BANNER=BANNER, AS_OF=AS_OF, Mask=Mask)
        self._environment.globals.update(purposes=LABELS, Purpose=Purpose)
        self._environment.globals.update(Distrust=Distrust, gaiji_style=STYLE_PATH if font else "")
        self._environment.filters.update(
            moment=show_moment, birth=birth_text, sex=sex_text, state=state_text,
            gaiji=lambda text: mark_gaiji(text, font), **INTAKE_FILTERS,
        )

    def render(self, template: str, frame: Frame, values: Mapping[str, Any]) -> str:
        """Return a page in the frame's language."""
        with in_language(frame.language):
            return self._environment.get_template(template).render(
                frame=frame, shown=lambda resident: show(resident, frame.facts),
                age=lambda resident: age_text(resident, frame.now), **values,
            )


def birth_text(resident: Resident) -> str:
    """Return a date of birth in both calendars; as delivered where it is no date."""
    return show_day(resident.birthday) if resident.birthday else resident.birth


def age_text(resident: Resident, now: datetime) -> str:
    """Return the age in whole years of somebody who is a resident; else nothing."""
    today = now.astimezone(JST).date()
    if resident.birthday is None or resident.state != "1" or resident.birthday > today:
        return ""
    return _("{years} years old").format(years=years_between(resident.birthday, today))


def years_between(birthday: date, today: date) -> int:
    """Return an age in whole years; whoever was born on 29 February turns older on 1 March."""
    return today.year - birthday.year - ((today.month, today.day) < (birthday.month, birthday.day))


def sex_text(code: str) -> str:
    """Return a sex for people; unknown codes as delivered."""
    return {"1": _("male"), "男": _("male"), "2": _("female"), "女": _("female")}.get(code, code)


def state_text(code: str) -> str:
    """Return a resident's state for people; unknown codes as delivered."""
    return {
        "1": _("resident"), "2": _("moved away"), "3": _("dead"), "9": _("deleted"), "": _("state unknown"),
    }.get(code, code)
