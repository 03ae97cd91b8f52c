"""`jbackupd desk journal` and `jbackupd recovery failback`, from a laptop's journal to a queue that is worked off."""

import csv
import io
import json

import pytest

from jbackupd.cli.main import main
from jbackupd.desk.audit import open_audit
from jbackupd.desk.intake import Clerk
from jbackupd.format.intake import Person
from jbackupd.format.intakekinds import Kind
from jbackupd.model.clock import ManualClock
from jbackupd.model.ids import TenantId
from jbackupd.service.intake import Books
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.identity import load_or_create
from tests.support.intakes import AS_OF, AT, HANAKO, fields_of, nonce

CONFIG = """
version = 1
[site]
id = "{site}"
state = "{state}"
[[tenant]]
id = "imari"
"""
MAP = """
encoding = "utf-8"
[columns]
"番号" = "宛名番号"
"氏名" = "氏名"
"生年月日" = "生年月日"
"状態" = "住民状態"
"住所" = "住所"
"""
CLERK = Clerk("kubo", "::1")
TARO = Person("伊万里 \U00020b9f郎", "20114008", "イマリ タロウ", "1960-05-05")


class Site:
    """A site of its own state folder, with a book like a desk's."""

    def __init__(self, folder, name):
        self.state = folder / name
        self.config = folder / f"{name}.toml"
        self.config.write_text(CONFIG.format(site=name, state=self.state))
        self.files, self.clock = PosixFiles(str(self.state)), ManualClock(AT)
        self.count = 0

    def book(self):
        from jbackupd.model.ids import SiteId

        key = load_or_create(self.files, SiteId(self.state.name)).local_key
        audit = open_audit(self.files, "audit/imari", self.clock)
        return Books(self.files, lambda: key, self.clock).of(TenantId("imari"), "desk", "伊万里市", audit)

    def receive(self, book, kind, person, **said):
        self.count += 1
        self.clock.advance(60)
        return book.receive(
            kind, (person,), fields_of(kind, **said), clerk=CLERK, nonce=nonce(self.count), as_of=AS_OF
        ).number


@pytest.fixture
def sites(tmp_path):
    return Site(tmp_path, "laptop"), Site(tmp_path, "saga")


@pytest.fixture
def call(capsys):
    def calling(site, *arguments, code=0):
        assert main(["-c", str(site.config), "--json", *arguments]) == code
        return json.loads(capsys.readouterr().out)

    return calling


def carry(call, laptop, saga, tmp_path, name="journal.intake"):
    """Bring the laptop's journal to the rebuilt site; return what the import said."""
    file = tmp_path / name
    said = call(laptop, "desk", "journal", "export", "--to", str(file))
    secret = tmp_path / "passphrase"
    secret.write_text(said["passphrase"] + "\n")
    return call(saga, "desk", "journal", "import", str(file), "--passphrase-file", str(secret))


def test_a_laptops_journal_comes_back_and_is_worked_off_by_two_people(sites, call, tmp_path):
    laptop, saga = sites
    book = laptop.book()
    death = laptop.receive(book, Kind.DEATH, HANAKO, died_on="2026-11-23")
    move = laptop.receive(book, Kind.MOVE_OUT, TARO)
    laptop.receive(book, Kind.SAFETY, HANAKO)
    assert carry(call, laptop, saga, tmp_path) | {"schema": 1} == {
        "schema": 1, "tenant": "imari", "desk": "desk", "label": "伊万里", "entries": 3, "new": 3,
    }
    listed = call(saga, "recovery", "failback", "list")
    assert (listed["done"], listed["open"], listed["lists"]) == (False, 2, 1)
    assert [item["number"] for item in listed["items"]] == [death, move]

    call(saga, "recovery", "failback", "enter", death, "--by", "kubo")
    refused = call(saga, "recovery", "failback", "confirm", death, "--by", "ＫＵＢＯ", code=5)
    assert refused["error"]["code"] == "refused"
    assert call(saga, "recovery", "failback", "confirm", death, "--by", "sato")["state_word"] == "反映済"
    call(saga, "recovery", "failback", "return", move, "--by", "kubo", "--reason", "転出先が不明", code=0)
    call(saga, "recovery", "failback", "return", move, "--by", "kubo", code=2)

    # The laptop corrects both, and comes back once more.
    fields = fields_of(Kind.DEATH, died_on="2026-11-22")
    book.correct(death, (HANAKO,), fields, clerk=CLERK, nonce=nonce(90), reason="日付の誤り")
    assert carry(call, laptop, saga, tmp_path, "second.intake")["new"] == 1
    shown = call(saga, "recovery", "failback", "show", death)
    assert (shown["state"], shown["outdated"], shown["fields"]["died_on"]) == ("open", "applied", "2026-11-22")
    for number, deed in ((death, ()), (move, ("--duplicate",))):
        if number == move:
            call(saga, "recovery", "failback", "reopen", move, "--by", "sato", "--reason", "判明した")
        call(saga, "recovery", "failback", "enter", number, "--by", "kubo", *deed)
        call(saga, "recovery", "failback", "confirm", number, "--by", "sato")
    done = call(saga, "recovery", "failback", "list", "--all")
    assert done["done"] and done["counts"]["applied"] == done["counts"]["duplicate"] == 1 and done["open"] == 0
    journals = call(saga, "desk", "journal", "list")["journals"]
    assert [(one["received"], one["entries"], one["receptions"]) for one in journals] == [(True, 4, 3)]


def test_what_is_open_is_written_for_the_main_system_with_every_character_accounted_for(sites, call, tmp_path):
    laptop, _ = sites
    book = laptop.book()
    move = laptop.receive(book, Kind.MOVE_OUT, TARO, note="葛\U000e0100城〜鷗")
    laptop.receive(book, Kind.DEATH, HANAKO)
    target = tmp_path / "open.csv"
    said = call(laptop, "recovery", "failback", "export", "--to", str(target), code=3)
    rows = list(csv.DictReader(io.StringIO(target.read_bytes().decode("cp932"), newline="")))
    assert [row["受付番号"] for row in rows] == [move, "2026-伊万里-死亡-0001"]
    assert (rows[0]["氏名"], rows[0]["備考"], rows[0]["状態"]) == ("伊万里 〓郎", "葛城～〓", "未反映")
    side = list(csv.DictReader(io.StringIO((tmp_path / "open.csv.replaced.csv").read_bytes().decode("utf-8-sig"))))
    assert said["replaced"] == len(side)
    assert {(one["列"], one["符号位置"], one["置換後"]) for one in side} >= {
        ("氏名", "U+20B9F", "〓"), ("備考", "U+845B U+E0100", "葛"), ("備考", "U+301C", "～"),
    }
    exact = tmp_path / "utf8.csv"
    assert call(laptop, "recovery", "failback", "export", "--to", str(exact), "--encoding", "utf-8")["replaced"] == 0
    assert TARO.name in exact.read_text() and "葛\U000e0100城" in exact.read_text()
    assert call(laptop, "recovery", "failback", "export", "--to", str(exact), code=5)["error"]["code"] == "refused"
    call(laptop, "recovery", "failback", "export", "--to", str(tmp_path / "x"), "--kind", "others", code=2)
    safety = tmp_path / "safety.csv"
    laptop.receive(book, Kind.SAFETY, HANAKO)
    assert call(laptop, "recovery", "failback", "export", "--to", str(safety), "--kind", "safety")["rows"] == 1


def test_reconciling_proposes_and_decides_nothing(sites, call, tmp_path):
    laptop, _ = sites
    book = laptop.book()
    numbers = {
        "already": laptop.receive(book, Kind.DEATH, HANAKO),
        "conflict": laptop.receive(book, Kind.MOVE_OUT, TARO),
        "missing": laptop.receive(book, Kind.DEATH, Person("居ない 人", "999")),
        "unknown": laptop.receive(book, Kind.DEATH, Person("重複 名", birth="1950-01-01")),
        "to-enter": laptop.receive(book, Kind.MOVE_IN, Person("新しい 人", birth="2000-02-02")),
    }
    (tmp_path / "map.toml").write_text(MAP)
    extract = tmp_path / "fresh.csv"
    extract.write_text("\n".join((
        "番号,氏名,生年月日,状態,住所", "20114007,佐藤 花子,4050101,3,旭町1番地",
        "20114008,伊万里 太郎,1960-05-05,3,本町2",
        "5,重複 名,1950-01-01,1,本町3", "6,重複 名,1950-01-01,1,本町4", "",
    )))
    said = call(laptop, "recovery", "failback", "reconcile", str(extract), "--map", str(tmp_path / "map.toml"),
                "--as-of", "2026-12-20T09:00+09:00")
    found = {one["verdict"]: one for one in said["proposals"]}
    assert {verdict: one["number"] for verdict, one in found.items()} == numbers
    assert found["unknown"]["candidates"] == ["5", "6"]
    assert {one["field"] for one in found["conflict"]["differences"]} == {"氏名", "住民状態"}
    assert said["verdicts"] == dict.fromkeys(numbers, 1)
    assert call(laptop, "recovery", "failback", "list")["open"] == 5
    assert "register.sqlite" not in {path.name for path in laptop.state.rglob("*")}


def test_a_list_can_be_printed(sites, call, tmp_path):
    laptop, _ = sites
    laptop.receive(laptop.book(), Kind.DEATH, Person("<b>名", "1"), note="二重\n行")
    call(laptop, "recovery", "failback", "list", "--html", str(tmp_path / "list.html"))
    page = (tmp_path / "list.html").read_text()
    assert "&lt;b&gt;名" in page and "2026-伊万里-死亡-0001" in page and "確認者" in page


def test_a_carried_journal_that_is_not_whole_not_its_own_or_another_history_is_refused(sites, call, tmp_path):
    laptop, saga = sites
    book = laptop.book()
    laptop.receive(book, Kind.DEATH, HANAKO)
    copy = {path: path.read_bytes() for path in laptop.state.rglob("*") if path.is_file()}
    laptop.receive(book, Kind.DEATH, TARO)
    carry(call, laptop, saga, tmp_path)
    file, secret = tmp_path / "journal.intake", tmp_path / "passphrase"
    wrong = tmp_path / "wrong"
    wrong.write_text("bcdf-ghjk-mnpq-rstv-wxyz")
    bring = ("desk", "journal", "import")
    call(saga, *bring, str(file), "--passphrase-file", str(wrong), code=6)
    for damaged in (file.read_bytes()[:-1], file.read_bytes() + b"x", b"x" + file.read_bytes(), b""):
        (tmp_path / "damaged").write_bytes(damaged)
        call(saga, *bring, str(tmp_path / "damaged"), "--passphrase-file", str(secret), code=4)
    call(laptop, *bring, str(file), "--passphrase-file", str(secret), code=5)
    assert call(saga, *bring, str(file), "--passphrase-file", str(secret))["new"] == 0
    # The laptop's state is put back and goes on otherwise.
    book.close()
    for path, data in copy.items():
        path.write_bytes(data)
    laptop.receive(laptop.book(), Kind.DAMAGE, TARO)
    call(laptop, "desk", "journal", "export", "--to", str(tmp_path / "other"), "--passphrase-file", str(secret))
    call(saga, *bring, str(tmp_path / "other"), "--passphrase-file", str(secret), code=5)
    assert call(saga, "recovery", "failback", "list")["open"] == 2


def test_nothing_was_ever_taken_in(sites, call, tmp_path):
    laptop, _ = sites
    call(laptop, "recovery", "failback", "list", code=10)
    call(laptop, "desk", "journal", "export", "--to", str(tmp_path / "x"), code=10)


def test_what_a_person_reads_is_there_in_both_languages(sites, capsys):
    laptop, _ = sites
    number = laptop.receive(laptop.book(), Kind.DEATH, HANAKO)
    for language in ("ja", "en"):
        for arguments in (["list"], ["show", number]):
            assert main(["-c", str(laptop.config), "--language", language, "recovery", "failback", *arguments]) == 0
            out = capsys.readouterr()
            assert number in out.out and HANAKO.name in out.out


def test_a_journal_that_was_handed_over_is_destroyed_and_its_numbers_never_come_again(sites, call, tmp_path):
    laptop, saga = sites
    book = laptop.book()
    laptop.receive(book, Kind.DEATH, HANAKO)
    entries = carry(call, laptop, saga, tmp_path)["entries"]
    laptop.receive(book, Kind.DEATH, TARO)
    book.close()
    erase = ("desk", "journal", "erase", "desk", "--entries")
    call(laptop, *erase, str(entries), code=5)
    entries += carry(call, laptop, saga, tmp_path, "second.intake")["new"]
    assert call(laptop, *erase, str(entries))["label"] == "伊万里"
    call(laptop, "desk", "journal", "list", code=10)
    left = sorted(path.name for path in (laptop.state / "intake/imari/desks/desk").iterdir())
    assert len(left) == 1 and left[0].startswith("erased-")
    assert laptop.receive(laptop.book(), Kind.DEATH, HANAKO) == "2026-伊万里2-死亡-0001"
    call(saga, "desk", "journal", "erase", "nothing", "--entries", "0", code=10)
    assert call(saga, "recovery", "failback", "list")["open"] == 2


def test_an_erasure_that_was_cut_short_is_finished(sites, call, tmp_path):
    laptop, _ = sites
    book = laptop.book()
    laptop.receive(book, Kind.DEATH, HANAKO)
    book.close()
    folder = laptop.state / "intake/imari/desks/desk"
    journal = (folder / "journal").read_bytes()
    call(laptop, "desk", "journal", "erase", "desk", "--entries", "1")
    (folder / "journal").write_bytes(journal)
    call(laptop, "desk", "journal", "list", code=10)
    call(laptop, "desk", "journal", "erase", "desk", "--tenant", "imari", "--entries", "1")
    assert not (folder / "journal").exists()
