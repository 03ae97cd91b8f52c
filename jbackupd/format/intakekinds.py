"""What a desk takes in: the kinds of receptions, and the fields of each form.

One table for the pages, for the journal's decoder and for the lists that go back to the main system. Codes never
change their meaning. `word` is the Japanese term of forms, numbers and CSV headings; `label` is the English one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What was received; values stand in journals."""

    MOVE_IN = "move-in"
    MOVE_OUT = "move-out"
    MOVE_WITHIN = "move-within"
    DEATH = "death"
    BIRTH = "birth"
    DAMAGE = "damage"
    EVACUATION = "evacuation"
    SAFETY = "safety"
    PROVISIONAL = "provisional"


class FieldType(Enum):
    """How a field is typed and kept. All are kept as text: a day as 2026-11-23, a time as 04:10."""

    LINE = "line"
    TEXT = "text"
    """Several lines."""
    DAY = "day"
    TIME = "time"
    COUNT = "count"
    CHOICE = "choice"


class About(Enum):
    """Whom a reception is about."""

    REGISTERED = "registered"
    """Somebody in the register."""
    NEW = "new"
    """Somebody whom the register does not have yet; a number may be known of one who comes back."""
    ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several answers."""

    code: str
    word: str
    label: str


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form.

    Attributes:
        name: In journals; never changed.
        length_max: In characters.
        past: A day that cannot lie in the future when it is typed.
        located: Leads to where somebody is: never shown of who is under support measures (支援措置).
        on_slip: Stands on the slip that the applicant takes along.
    """

    name: str
    word: str
    label: str
    type: FieldType = FieldType.LINE
    required: bool = False
    length_max: int = 60
    choices: tuple[Choice, ...] = ()
    past: bool = False
    located: bool = False
    on_slip: bool = True

    def choice(self, code: str) -> Choice | None:
        """Return the answer with a code."""
        return next((one for one in self.choices if one.code == code), None)


@dataclass(frozen=True, slots=True)
class KindSpec:
    """A kind of reception.

    Attributes:
        prefix: In its numbers: 2026-伊万里-死亡-0001.
        changes_register: The register is to be changed by it: the person is 異動受付済(未反映) until it is.
        household: Other members of the household may be in it.
        returns: It becomes an item of the failback queue; what does not is handed over as a list.
    """

    kind: Kind
    word: str
    label: str
    prefix: str
    about: About
    fields: tuple[FormField, ...]
    changes_register: bool = False
    household: bool = False
    returns: bool = True

    def field(self, name: str) -> FormField | None:
        """Return a field by its name."""
        return next((field for field in self.fields if field.name == name), None)


def _line(name: str, word: str, label: str, *, required: bool = False, length_max: int = 60) -> FormField:
    return FormField(name, word, label, required=required, length_max=length_max)


def _where(name: str, word: str, label: str, *, required: bool = False, length_max: int = 120) -> FormField:
    return FormField(name, word, label, required=required, length_max=length_max, located=True)


def _text(name: str, word: str, label: str, *, required: bool = False) -> FormField:
    # Whoever writes freely may write where somebody is.
    return FormField(
        name, word, label, FieldType.TEXT, required=required, length_max=400, located=True, on_slip=False
    )


def _day(name: str, word: str, label: str, *, past: bool = True) -> FormField:
    return FormField(name, word, label, FieldType.DAY, required=True, past=past)


def _choice(name: str, word: str, label: str, *choices: tuple[str, str, str], required: bool = True) -> FormField:
    made = tuple(Choice(*choice) for choice in choices)
    return FormField(name, word, label, FieldType.CHOICE, required=required, choices=made)


_REPORTER = _line("reporter", "届出人", "reported by", required=True)
_PHONE = _where("phone", "連絡先", "phone", length_max=40)
_NOTE = _text("note", "備考", "note")
_SEX = _choice("sex", "性別", "sex", ("1", "男", "male"), ("2", "女", "female"), required=False)
_NEW_ADDRESS = _where("new_address", "新住所", "new address", required=True)
_BUILDING = _where("building", "方書", "building", length_max=60)
_EXTENT = _choice(
    "extent", "異動の範囲", "extent", ("all", "世帯全員", "whole household"),
    ("part", "世帯の一部", "part of the household"),
)

_SPECS = (
    KindSpec(Kind.MOVE_IN, "転入届", "move into the municipality", "転入", About.NEW, (
        _day("moved_on", "異動年月日", "date of the move"), _SEX,
        _where("old_address", "前住所", "former address", required=True), _NEW_ADDRESS, _BUILDING,
        _line("head", "世帯主", "head of the household"),
        _line("relation", "続柄", "relation to the head", length_max=20),
        _text("others", "同時に転入する人(氏名・生年月日)", "others who move in (names, birth dates)"),
        _REPORTER, _PHONE, _NOTE,
    ), changes_register=True),
    KindSpec(Kind.MOVE_OUT, "転出届", "move out of the municipality", "転出", About.REGISTERED, (
        _day("moved_on", "異動(予定)年月日", "date of the move", past=False),
        _where("new_address", "転出先住所", "address afterwards", required=True), _EXTENT,
        _REPORTER, _PHONE, _NOTE,
    ), changes_register=True, household=True),
    KindSpec(Kind.MOVE_WITHIN, "転居届", "move within the municipality", "転居", About.REGISTERED, (
        _day("moved_on", "異動年月日", "date of the move"), _NEW_ADDRESS, _BUILDING, _EXTENT,
        _line("head", "異動後の世帯主", "head of the household afterwards"), _REPORTER, _PHONE, _NOTE,
    ), changes_register=True, household=True),
    KindSpec(Kind.DEATH, "死亡届", "notification of death", "死亡", About.ANYONE, (
        _day("died_on", "死亡年月日", "date of death"),
        FormField("died_at", "死亡時刻", "time of death", FieldType.TIME),
        _where("place", "死亡した場所", "place of death", required=True),
        _choice("certificate", "診断書・検案書", "medical certificate", ("doctor", "死亡診断書", "death certificate"),
                ("examiner", "死体検案書", "post-mortem certificate"), ("later", "後日提出", "to follow")),
        _REPORTER, _line("reporter_relation", "届出人の続柄・資格", "relation of the reporter", required=True),
        _choice("cremation", "火葬許可申請", "application for cremation", ("yes", "あり", "yes"), ("no", "なし", "no")),
        _line("crematory", "火葬場", "crematory"), _PHONE, _NOTE,
    ), changes_register=True),
    KindSpec(Kind.BIRTH, "出生届", "notification of birth", "出生", About.NEW, (
        _SEX, _where("place", "出生した場所", "place of birth", required=True),
        _line("mother", "母の氏名", "mother", required=True), _line("father", "父の氏名", "father"),
        _line("parent_number", "父母の宛名番号", "resident number of a parent", length_max=20),
        _where("new_address", "住所", "address", required=True),
        _line("head", "世帯主", "head of the household"), _REPORTER, _PHONE, _NOTE,
    ), changes_register=True),
    KindSpec(Kind.DAMAGE, "罹災証明 申請", "application for a disaster certificate", "罹災", About.ANYONE, (
        _day("damaged_on", "罹災年月日", "date of the damage"),
        _choice("cause", "罹災原因", "cause", ("quake", "地震", "earthquake"), ("tsunami", "津波", "tsunami"),
                ("storm", "風水害", "storm or flood"), ("fire", "火災", "fire"), ("other", "その他", "other")),
        _where("place", "罹災場所", "place", required=True),
        _choice("building_use", "建物の種別", "building", ("own", "住家(持家)", "home, own"),
                ("rent", "住家(借家)", "home, rented"), ("other", "非住家", "not a home")),
        _text("damage", "被害の状況", "damage", required=True),
        FormField("persons_count", "世帯人数", "persons in the household", FieldType.COUNT),
        _line("applicant", "申請者", "applicant", required=True),
        _where("phone", "連絡先", "phone", required=True, length_max=40),
        _where("staying_at", "現在の居所", "staying at"),
        _choice("photographs", "写真", "photographs", ("yes", "あり", "yes"), ("no", "なし", "no")), _NOTE,
    )),
    KindSpec(Kind.EVACUATION, "避難者登録", "registration of evacuees", "避難", About.ANYONE, (
        _choice("movement", "区分", "movement", ("in", "入所", "enters a shelter"), ("out", "退所", "leaves a shelter"),
                ("outside", "避難所外(在宅・車中泊・親族宅)", "outside of a shelter")),
        _where("shelter", "避難所", "shelter", required=True, length_max=60), _day("moved_on", "入退所年月日", "date"),
        FormField("moved_at", "時刻", "time", FieldType.TIME),
        FormField("persons_count", "人数", "persons", FieldType.COUNT),
        _text("needs", "配慮が必要なこと", "needs"), _PHONE, _NOTE,
    ), household=True),
    KindSpec(Kind.SAFETY, "安否", "safety", "安否", About.ANYONE, (
        _choice("safety", "安否", "safety", ("safe", "無事", "safe"), ("hurt", "負傷", "hurt"),
                ("missing", "行方不明", "missing"), ("dead", "死亡", "dead"), ("unknown", "不明", "unknown")),
        _where("shelter", "避難所", "shelter", length_max=60), _where("place", "居場所", "place"),
        _choice("source", "情報源", "source", ("self", "本人", "the person"), ("family", "家族", "family"),
                ("staff", "職員", "staff"), ("shelter", "避難所名簿", "list of the shelter"),
                ("other", "その他", "other")),
        _NOTE,
    ), household=True, returns=False),
    KindSpec(Kind.PROVISIONAL, "暫定交付", "provisional issue", "暫定", About.REGISTERED, (
        _line("purpose", "使用目的", "purpose", required=True),
        _line("applicant", "請求者", "applicant", required=True),
        _line("applicant_relation", "請求者の続柄・資格", "relation of the applicant", required=True),
        _choice("checked_by", "本人確認", "identity checked by", ("card", "顔写真付き証明書", "photo identification"),
                ("known", "職員が面識あり", "known to staff"), ("asked", "聴き取り", "questions")),
        _NOTE,
    ), household=True),
)
SPECS = {spec.kind: spec for spec in _SPECS}
"""Every kind, in the order of pages and lists."""
CORRECTION_PREFIX = "訂正"
CANCELLATION_PREFIX = "取消"
PREFIXES = (*(spec.prefix for spec in _SPECS), CORRECTION_PREFIX, CANCELLATION_PREFIX)
