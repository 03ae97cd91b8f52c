"""外字 and variation sequences: never changed, shown where the font has them, else with their code."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.desk.gaiji import load_font, mark_gaiji, parse_font
from jbackupd.model.errors import ConfigError


def font(*subtables):
    offset, places, data = 4 + 8 * len(subtables), b"", b""
    for table in subtables:
        places += struct.pack(">HHI", 3, 10, offset + len(data))
        data += table
    cmap = struct.pack(">HH", 0, len(subtables)) + places + data
    head = b"\0\1\0\0" + struct.pack(">HHHH", 1, 0, 0, 0) + b"cmap" + struct.pack(">III", 0, 28, len(cmap))
    return head + cmap


PRIVATE = struct.pack(">HHHHHHH", 4, 32, 0, 4, 0, 0, 0) + struct.pack(
    ">HH H HH HH HH", 0xE001, 0xFFFF, 0, 0xE000, 0xFFFF, 0x2001, 1, 0, 0
)
WIDE = struct.pack(">HHIII", 12, 0, 28, 0, 1) + struct.pack(">III", 0xF0000, 0xF0001, 7)
SEQUENCES = struct.pack(">HII", 14, 0, 1) + b"\x0e\x01\x00" + struct.pack(">II", 0, 21) + struct.pack(">I", 1) + (
    b"\x00\x8f\xbb" + struct.pack(">H", 9)
)


def test_a_fonts_shapes_are_known():
    found = parse_font(font(PRIVATE, WIDE, SEQUENCES))
    assert found.characters == {0xE000, 0xE001, 0xF0000, 0xF0001}
    assert found.variations == {(0x8FBB, 0xE0100)}


def test_a_character_keeps_its_code_points_and_says_them_where_the_font_lacks_it():
    known = parse_font(font(PRIVATE, SEQUENCES))
    marked = mark_gaiji("山\ue000\ue009<辻\U000e0100>", known)
    assert marked == (
        '山<span class="gaiji" title="外字 U+E000" data-code="U+E000">\ue000</span>'
        '<span class="gaiji coded" title="外字 U+E009" data-code="U+E009">\ue009</span>&lt;'
        '<span class="gaiji" title="外字 U+8FBB U+E0100" data-code="U+8FBB U+E0100">辻\U000e0100</span>&gt;'
    )
    assert "coded" in mark_gaiji("辻\U000e0100") and mark_gaiji("髙橋\ufa11") == "髙橋\ufa11"


def test_what_is_no_font_is_refused(tmp_path):
    path = tmp_path / "font"
    for data in (b"", b"ttcf" + bytes(100), b"wOF2" + bytes(100), font(PRIVATE)[:40]):
        path.write_bytes(data)
        with pytest.raises(ConfigError):
            load_font(str(path))
    with pytest.raises(ConfigError):
        load_font(str(tmp_path / "none"))


@pytest.mark.timeout(20)
def test_counts_that_a_damaged_table_promises_are_not_believed():
    endless = bytearray(SEQUENCES)
    endless[21] = 0xFF
    assert len(parse_font(font(bytes(endless))).variations) <= 2
    with pytest.raises(ValueError, match="subtables"):
        parse_font(font(*[PRIVATE] * 65))


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_a_damaged_font_is_refused_or_read(data):
    whole = bytearray(font(PRIVATE, SEQUENCES))
    whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_font(bytes(whole))
    except (ValueError, IndexError, struct.error):
        return
