"""The continuity plan of the demo's town."""

from __future__ import annotations

import json
import os

from jbackupd.demo.town import COLUMNS, EXTRACT, IGNORE
from jbackupd.model.texts import _

CLERK = "madoguchi"


def plan_text(*, query: str, expect: str) -> str:
    """Return the plan as an operator would have written it; the look-up is for a resident who is known by name."""
    title = _quoted(_("resident look-up at the counter"))
    columns = "\n".join(f"{_quoted(header)} = {_quoted(name)}" for header, name in COLUMNS.items())
    return f"""version = 1
id = "counter"
title = {title}
tenant = "imari"
home = "saga"
rto = "3h"
rpo = "26h"

[[step]]
id = "keys"
kind = "unlock"

[[step]]
id = "juki"
kind = "restore"
dataset = "imari/juki"
tier = 1
needs = ["keys"]

[[step]]
id = "office"
kind = "restore"
dataset = "imari/office"
tier = 3
needs = ["keys"]
on_failure = "continue"

[[step]]
id = "desk"
kind = "desk"
data = "juki"
file = {_quoted(os.path.basename(EXTRACT))}
encoding = "cp932"
title = "伊万里市"
listen = "127.0.0.1:0"
accounts = ["{CLERK}"]
ignore = {json.dumps(IGNORE, ensure_ascii=False)}
tier = 1
needs = ["juki"]

[step.columns]
{columns}

[[step]]
id = "look-up"
kind = "check"
desk = "desk"
query = {_quoted(query)}
expect = {_quoted(expect)}
tier = 1
needs = ["desk"]
"""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
