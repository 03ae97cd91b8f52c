"""The column map as a file of its own, for loading an extract by hand.

    encoding = "cp932"
    ignore = ["異動年月日"]
    [columns]
    "ATENA_NO" = "宛名番号"
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from jbackupd.desk.fields import ColumnMap
from jbackupd.settings.load import load_as
from jbackupd.settings.schema import Table


class MapFile(Table):
    """What the file may hold."""

    page: ClassVar[str] = "docs/operating/desk.md"
    encoding: Literal["cp932", "utf-8"] = Field(default="cp932", description="Encoding of the extract")
    ignore: list[str] = Field(default=[], description="Columns that the desk does not need")
    columns: dict[str, str] = Field(description="Column of the extract and the desk's field that it fills")


def load_map(file: str) -> ColumnMap:
    """Read a column map.

    Raises:
        ConfigError: It cannot be used; the message names file, line and key.
        RefusedError: It asks for 個人番号.
    """
    loaded = load_as(MapFile, [file], lambda _table, _place: ())
    return ColumnMap.parse(loaded.columns, ignore=loaded.ignore, encoding=loaded.encoding)
