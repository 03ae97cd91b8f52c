"""Merge the rooms' Japanese texts and compile them; --check only says what is missing or stale.

Every text that a person may read must have a Japanese translation in parts/*.po: what `_` and
`to_translate` mark in code and templates, and the message and hint of every error.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
PARTS = os.path.join(HERE, "ja", "parts")
TARGET = os.path.join(HERE, "ja", "LC_MESSAGES", "jbackupd")
FOREIGN = "click.po"
"""Texts of the click library, which our code does not name."""
Msgid = str | tuple[str, ...]
"""A text, or one text for one and one for many."""
_FIXED_DATE = datetime(2026, 1, 1, tzinfo=UTC)
_FIELD = re.compile(r"\{(\w*)")


def used_texts() -> dict[Msgid, str]:
    """Return every text that code and templates use, with a file that uses it."""
    texts: dict[Msgid, str] = {}
    found = extract_from_dir(
        PACKAGE,
        method_map=[("**.py", "python"), ("desk/templates/**.html", "jinja2.ext:babel_extract")],
        keywords={"_": None, "gettext": None, "to_translate": None, "counted": (1, 2)},
    )
    for file, _line, message, _comments, _context in found:
        texts.setdefault(_frozen(message), file)
    for file in python_files():
        for text in error_templates(file):
            texts.setdefault(text, os.path.relpath(file, PACKAGE))
    texts.pop("", None)
    return texts


def python_files() -> Iterator[str]:
    """Yield the files of the package that may hold texts."""
    for folder, _folders, names in os.walk(PACKAGE):
        if folder != HERE:
            yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(".py"))


def error_templates(file: str) -> Iterator[str]:
    """Yield the literal message and hint of every error that a file makes."""
    with open(file, encoding="utf-8") as stream:
        tree = ast.parse(stream.read(), file)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        # A defect of ours (InvariantError) and Python's own errors are not written for operators.
        if name.endswith("Error") and name != "InvariantError" and not hasattr(builtins, name):
            yield from _literals(node.args[:2])


def _literals(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
        for branch in branches:
            if isinstance(branch, ast.Constant) and isinstance(branch.value, str):
                yield branch.value


def translations() -> tuple[dict[Msgid, Msgid], set[Msgid], list[str]]:
    """Return the translations of all parts, which of them are foreign, and what contradicts itself."""
    merged: dict[Msgid, Msgid] = {}
    foreign: set[Msgid] = set()
    wrong: list[str] = []
    for name in sorted(os.listdir(PARTS)):
        if not name.endswith(".po"):
            continue
        with open(os.path.join(PARTS, name), "rb") as stream:
            catalog = read_po(stream, locale="ja", charset="utf-8", abort_invalid=True)
        for message in catalog:
            if not message.id:
                continue
            msgid, msgstr = _frozen(message.id), _frozen(message.string)
            # Two rooms may use one text; the first part by name decides for both.
            msgstr = merged.setdefault(msgid, msgstr)
            if _fields(msgid) != _fields(msgstr):
                wrong.append(f"{name}: the fields differ: {msgid!r}")
            if name == FOREIGN:
                foreign.add(msgid)
    return merged, foreign, wrong


def _fields(text: Msgid) -> set[str]:
    # Of forms for one and for many, the one for many is what a language without plurals translates.
    return set(_FIELD.findall(text if isinstance(text, str) else text[-1]))


def _frozen(text: str | Sequence[str] | None) -> Msgid:
    return tuple(text) if isinstance(text, (list, tuple)) else str(text or "")


def build_catalog(texts: dict[Msgid, str], translated: dict[Msgid, Msgid], foreign: set[Msgid]) -> Catalog:
    """Return the whole translation in a fixed order, so that building it again changes nothing."""
    catalog = Catalog(
        locale="ja", domain="jbackupd", project="jbackupd", header_comment="# Built by `make locale` from parts/*.po.",
        creation_date=_FIXED_DATE, revision_date=_FIXED_DATE, charset="utf-8", fuzzy=False,
    )
    for msgid in sorted(translated, key=str):
        if msgid in texts or msgid in foreign:
            catalog.add(msgid, translated[msgid], locations=[(texts.get(msgid, "click"), 0)])
    return catalog


def problems(texts: dict[Msgid, str], translated: dict[Msgid, Msgid]) -> list[str]:
    """Return the texts without a translation."""
    return [
        f"{file}: no Japanese for {msgid!r}" for msgid, file in sorted(texts.items(), key=str)
        if not _is_whole(translated.get(msgid, ""))
    ]


def _is_whole(text: Msgid) -> bool:
    return bool(text) and all(text)


def is_stale(catalog: Catalog) -> bool:
    """Tell whether the compiled file does not hold exactly the catalog."""
    try:
        with open(f"{TARGET}.mo", "rb") as stream:
            return _pairs(read_mo(stream)) != _pairs(catalog)
    except FileNotFoundError:
        return True


def _pairs(catalog: Catalog) -> dict[Msgid, Msgid]:
    return {_frozen(message.id): _frozen(message.string) for message in catalog if message.id}


def main(arguments: list[str]) -> int:
    """Build, or with --check only compare; return 1 if something is missing."""
    texts = used_texts()
    translated, foreign, wrong = translations()
    catalog = build_catalog(texts, translated, foreign)
    wrong += problems(texts, translated)
    if "--check" in arguments:
        wrong += ["the compiled translation is stale: run `make locale`"] if is_stale(catalog) else []
    else:
        os.makedirs(os.path.dirname(TARGET), exist_ok=True)
        with open(f"{TARGET}.po", "wb") as po, open(f"{TARGET}.mo", "wb") as mo:
            write_po(po, catalog, width=110, include_lineno=False)
            write_mo(mo, catalog)
    unused = [msgid for msgid in translated if msgid not in texts and msgid not in foreign]
    for line in (*wrong, *(f"note: translated, but no longer used: {msgid!r}" for msgid in sorted(unused, key=str))):
        sys.stdout.write(line + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
