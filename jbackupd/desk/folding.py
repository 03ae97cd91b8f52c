"""Names and addresses made comparable for searching. What is stored and shown is never folded."""

from __future__ import annotations

import re
import unicodedata

_SMALL = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")
# Readings that clerks and systems write either way.
_SOUNDS = str.maketrans({"ヂ": "ジ", "ヅ": "ズ", "ヲ": "オ", "ヰ": "イ", "ヱ": "エ"})
_LONG = re.compile("[ー‐-―−ｰ~〜-]")
_SEPARATORS = re.compile(r"[\s・･.,'’\-]+")
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# 番町 is a name. Long marks of kana stand before no number.
_BETWEEN_NUMBERS = re.compile("(?<=[0-9])(?:丁目|番地ノ?|番(?!町)|号室?|ノ|[ー‐-―−-])+")
_NUMERALS = re.compile("(?<=番地ノ)[〇一二三四五六七八九十百]+|[〇一二三四五六七八九十百]+(?=丁目|番地|番(?!町)|号)")
_DIGITS = "〇一二三四五六七八九"
_PLACES = {"十": 10, "百": 100}
_TO_KATAKANA = {code: code + 0x60 for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
_KANA = re.compile(r"[ァ-ヺヽヾー]+")

# Forms of one character that stand in for each other in family and given names; the first is searched for.
_VARIANTS = """
    高髙 崎﨑嵜碕 斎斉齋齊 辺邊邉 浜濱濵 沢澤 広廣 国國圀 島嶋嶌 桜櫻 栄榮 恵惠 実實 真眞 亀龜
    竜龍 滝瀧 塩鹽 関關 徳德 静靜 寿壽 権權 条條 蔵藏 槙槇 富冨 峰峯 吉𠮷 柳栁 渕淵渊 梅楳
    曽曾 児兒 円圓 学學 宝寶 弥彌 桑桒 浅淺 礼禮 総總 緑綠 薫薰 豊豐 鉄鐵 黒黑 館舘 穂穗
    瑶瑤 凜凛 万萬 与與 来來 会會 伝傳 仏佛 剣劍 勲勳 区區 参參 台臺 県縣 壱壹 奥奧 巌巖
    済濟 湾灣 瀬瀨 当當 発發 稲稻 糸絲 芦蘆 茎莖 蛍螢 郎郞 頼賴 顔顏 鴎鷗
"""
_FIRST_FORM = {ord(other): group[0] for group in reversed(_VARIANTS.split()) for other in group[1:]}


def to_katakana(text: str) -> str:
    """Return a text with hiragana and half-width kana as full-width katakana."""
    return unicodedata.normalize("NFKC", text).translate(_TO_KATAKANA)


def is_kana(text: str) -> bool:
    """Tell whether a typed word is a reading: kana of any width, and nothing else."""
    return _KANA.fullmatch(_SEPARATORS.sub("", to_katakana(text))) is not None


def fold_kana(text: str) -> str:
    """Return a reading for comparing: katakana of full size, without blanks and long marks."""
    folded = _LONG.sub("", to_katakana(text)).translate(_SMALL).translate(_SOUNDS)
    return _SEPARATORS.sub("", folded)


def fold_name(text: str) -> str:
    """Return a name for comparing: one form per character, no variation selectors, no blanks, small letters."""
    plain = unicodedata.normalize("NFKC", _VARIATION_SELECTORS.sub("", text)).translate(_FIRST_FORM)
    return _SEPARATORS.sub("", plain).casefold()


def fold_address(text: str) -> str:
    """Return an address for comparing: 本町一丁目２番３号, 本町1丁目2-3 and 本町１−２−３ are all 本町1-2-3.

    Kana are katakana, numerals before 丁目, 番 and 号 are digits, and what stands between numbers is one hyphen.
    """
    plain = unicodedata.normalize("NFKC", _VARIATION_SELECTORS.sub("", text)).translate(_TO_KATAKANA)
    plain = re.sub(r"\s+", "", plain).translate(_FIRST_FORM).casefold().replace("大字", "")
    plain = _NUMERALS.sub(lambda match: str(_numeral(match[0])), plain)
    plain = _BETWEEN_NUMBERS.sub("-", plain)
    return re.sub("(?<=[0-9])-+(?![0-9])", "", plain)


def _numeral(text: str) -> int:
    """Return the number of kanji numerals below 1,000: 十二, 二十, 百五, 一〇三."""
    if not set(text) & {"十", "百"}:
        return int("".join(str(_DIGITS.index(char)) for char in text))
    total = digit = 0
    for char in text:
        if char in _PLACES:
            total, digit = total + (digit or 1) * _PLACES[char], 0
        else:
            digit = _DIGITS.index(char)
    return total + digit


def given_part(text: str) -> str:
    """Return what follows the first blank of a name: the given name; empty if there is no blank."""
    parts = text.split(maxsplit=1)
    return parts[1] if len(parts) == 2 else ""


def fold_number(text: str) -> str:
    """Return a number for comparing: half-width digits without leading zeros."""
    return unicodedata.normalize("NFKC", text).strip().lstrip("0") or "0"
