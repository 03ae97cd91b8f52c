"""Names made comparable for searching. What is stored and shown is never folded."""

from __future__ import annotations

import re
import unicodedata

_SMALL = str.maketrans("ァィゥェォッャュョヮヵヶ", "アイウエオツヤユヨワカケ")
# Readings that clerks and systems write either way.
_SOUNDS = str.maketrans({"ヂ": "ジ", "ヅ": "ズ", "ヲ": "オ", "ヰ": "イ", "ヱ": "エ"})
_LONG = re.compile("[ー‐-―−ｰ~〜-]")
_SEPARATORS = re.compile(r"[\s・･.,'’\-]+")
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
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


def given_part(text: str) -> str:
    """Return what follows the first blank of a name: the given name; empty if there is no blank."""
    parts = text.split(maxsplit=1)
    return parts[1] if len(parts) == 2 else ""


def fold_number(text: str) -> str:
    """Return a number for comparing: half-width digits without leading zeros."""
    return unicodedata.normalize("NFKC", text).strip().lstrip("0") or "0"
