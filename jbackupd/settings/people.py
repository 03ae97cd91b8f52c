"""Who is called and where things lie: what a plan tells the people who carry it out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from jbackupd.settings.schema import OfficerName, Table, Text

Telephone = Annotated[str, StringConstraints(pattern=r"^\+?[0-9][0-9() -]{3,30}(内線[0-9]{1,6}| ext\. ?[0-9]{1,6})?$")]


class Person(Table):
    """[[person]]: somebody who is needed when the plan is run."""

    name: Text = Field(description="Name, for people")
    role: Text = Field(description="What the person does in the plan: in charge, approves, opens the store")
    telephone: Telephone = Field(description="Where the person is reached at night")
    alternate: Text | None = Field(default=None, description="Who is called when the person is not reached")
    officer: OfficerName | None = Field(
        default=None, description="The person's name as [[officer]], for who approves declarations"
    )


class PlaceOf(Table):
    """[[place]]: where something lies that is needed."""

    what: Text = Field(description="What lies there: shares A and C, the spare laptop, tapes; never a secret")
    where: Text = Field(description="Building, room, cabinet")
    opened_by: Text | None = Field(default=None, description="Who has the key, or where it hangs")
