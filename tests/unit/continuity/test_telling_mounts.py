"""What a mount or an export tells while it lives is said in words, whoever watches."""

from __future__ import annotations

import pytest

from jbackupd.continuity.telling import event_text


@pytest.mark.parametrize(("event", "text"), [
    ({"event": "damage", "path": "base/5/16396", "reason": "{damaged}"}, "db: cannot be read: base/5/16396: {damaged}"),
    ({"event": "whole", "point": "imari/db@3"}, "db: all of imari/db@3 is there"),
    ({"event": "not-whole", "point": "imari/db@3"}, "db: something of imari/db@3 could not be brought"),
    ({"event": "unmounted", "point": "imari/db@3"}, "db: the mount of imari/db@3 has ended by itself; resume the run"),
])
def test_what_happens_to_a_mount_is_said(event, text):
    assert event_text({"step": "db", **event}) == text
