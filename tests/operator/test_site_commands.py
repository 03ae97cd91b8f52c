"""Declaring a loss as an operator does it: evidence first, codes over the telephone, the waiting time, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jbackupd.cli.main import main
from jbackupd.model.texts import language, set_language

LINE = re.compile(r"<td>\d+</td><td>saga → kyoto</td><td>2</td><td>([\d-]{24})</td>")


class Kyoto:
    """The site that takes over, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "kyoto.toml"
        self._page = ""
        (folder / "words").write_text("four calm words here\n")
        for site in ("saga", "kyoto"):
            (folder / f"{site}.toml").write_text(f'version = 1\n[site]\nid = "{site}"\nstate = "{folder}/{site}"\n')
            self.config = folder / f"{site}.toml"
            self.run("site", "init")
        text = self.config.read_text() + '[approval]\nwait = "1h"\n'
        text += f'[[peer]]\nid = "saga"\ncard = "{folder}/saga/site/saga.card"\naddress = "127.0.0.1:1"\n'
        for officer in ("mori", "abe"):
            self.run("officer", "create", officer, "--to", str(folder), *self.words)
            text += f'[[officer]]\nid = "{officer}"\ncard = "{folder}/{officer}.card"\n'
        self.config.write_text(text)

    @property
    def words(self) -> tuple[str, str]:
        return "--passphrase-file", str(self.folder / "words")

    def run(self, *arguments: str, expect: int = 0, language: str = "en") -> str:
        """Run a command in this process and return what it said."""
        said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(["-c", str(self.config), "--language", language, *arguments])
            said.flush()
        text = said.detach().getvalue().decode()  # type: ignore[attr-defined]
        assert code == expect, (code, text)
        return text

    def document(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self.run("--json", "-q", *arguments)))


@pytest.fixture(autouse=True, scope="module")
def _language() -> Iterator[None]:
    """Leave the language as it was."""
    before = language()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGUAGE", "en")
        yield
    set_language(before)


@pytest.fixture(scope="module")
def kyoto(tmp_path_factory: pytest.TempPathFactory) -> Kyoto:
    return Kyoto(tmp_path_factory.mktemp("kyoto"))


def test_from_a_suspicion_to_a_declaration_in_force(kyoto: Kyoto) -> None:
    # In calm weather: an officer's page and the file for the sites.
    made = kyoto.document(
        "officer", "codes", "--key", f"{kyoto.folder}/mori.key", *kyoto.words, "--to", f"{kyoto.folder}/codes",
        "--lost", "saga", "--acting", "kyoto", "--epochs", "2",
    )
    codes = LINE.findall(Path(made["page"]).read_text())
    assert len(codes) == made["codes"] == 2
    assert "mori: made" in kyoto.run("site", "codes", "take", made["file"], "--local")

    plan = Path(__file__).parents[2] / "config" / "plans" / "counter.toml"
    assert "1 of 2 officers could approve by telephone that saga is lost (epoch 2)" in kyoto.run(
        "recovery", "check", str(plan), expect=1
    )

    # Something is wrong. People ask around; the page has rows for the rest.
    said = kyoto.run("site", "observe", "saga", "power", "停電、復旧見込みなし", "--says", "lost", "--by", "森",
                     "--local")
    assert "1 observations about saga" in said
    page = kyoto.folder / "evidence.html"
    said = kyoto.run("site", "evidence", "saga", "--html", str(page), "--local", language="ja")
    assert "電力会社: 停電の有無: 停電、復旧見込みなし (喪失を示す; 森)" in said and "未確認の項目: telephone" in said
    assert "令和" in page.read_text() and "拠点喪失の判断資料: saga" in page.read_text()

    # A code that was misheard, the right one, the key of the other officer.
    begun = kyoto.document("site", "declare-lost", "saga", "--reason", "浸水", "--local")
    assert "a digit of the code is wrong" in kyoto.run(
        "site", "approve", "--code", codes[0][:-1] + str((int(codes[0][-1]) + 1) % 10), "--local", expect=2
    )
    said = kyoto.run("site", "approve", "--code", codes[0].replace("-", " "), "--local")
    assert f"That was a code of mori. Let it be struck out, and say the declaration: {begun['id']}" in said
    said = kyoto.run("site", "approve", begun["id"], "--key", f"{kyoto.folder}/abe.key", *kyoto.words, "--local")
    assert "has its approvals and waits until" in said and "It may come into force in" in said

    # It waits, unless everybody wants it at once.
    said = kyoto.run("site", "proceed", begun["id"], "--local", expect=75)
    assert "waits until" in said and "jbackupd site status" in said
    assert "approved by mori (by telephone), abe" in kyoto.run("site", "status", "--local")
    answer = kyoto.document("site", "proceed", begun["id"], "--without-waiting", "--by", "森", "--local")
    assert answer["in_force"] and answer["by_code"] == ["mori"]

    # What officers signed can be shown later, and is what they signed.
    signed = kyoto.document("site", "evidence", "--declaration", begun["id"], "--local")
    assert signed["digest"] == begun["evidence_digest"]
    assert [each["words"] for each in signed["checklist"]] == ["停電、復旧見込みなし"]
    listed = kyoto.document("site", "codes", "list", "--local")
    assert [matter["spent"] for matter in listed["books"][0]["matters"]] == [1]


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("site", "approve", "x"), 2, "it is not clear who approves"),
    (("site", "approve", "--key", "k", "--code", "1"), 2, "it is not clear who approves"),
    (("site", "approve", "--code", "1", "--declaration", "d", "--out", "o"), 2, "where the declaration waits"),
    (("site", "approve", "--code", "1234-5678-9012-3456-7890", "--local"), 10, "no declaration waits"),
    (("site", "evidence", "--local"), 2, "it is not clear what to show"),
    (("site", "evidence", "osaka", "--local"), 10, "there is no site osaka"),
    (("site", "evidence", "--declaration", "../../x", "--local"), 10, "keeps no evidence"),
    (("site", "observe", "saga", "power", " ", "--by", "x", "--local"), 2, "has a name and words"),
    (("site", "codes", "take", "words", "--local"), 4, "holds no promises"),
    (("site", "codes", "take", "nothing-there", "--local"), 10, "does not exist"),
    (("site", "proceed", "3f2a91c0", "--local"), 10, "no pending declaration"),
    (("officer", "codes", "--key", "mori.key", "--to", "x", "--epochs", "3-2"), 2, "names no epochs"),
    (("officer", "codes", "--key", "mori.key", "--to", "x", "--lost", "../x"), 2, "is not a name"),
])
def test_mistakes_are_named(kyoto: Kyoto, arguments: tuple[str, ...], code: int, said: str) -> None:
    paths = [f"{kyoto.folder}/{each}" if each in ("words", "mori.key", "nothing-there") else each for each in arguments]
    assert said in kyoto.run(*paths, expect=code)
