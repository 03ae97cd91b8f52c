"""A desk of a small town, served by the real server on loopback."""

import asyncio
import contextlib
import os
import threading
from datetime import UTC, datetime

import pytest

from jbackupd.demo.town import COLUMNS, IGNORE, advance_day, make_town
from jbackupd.desk.accounts import Account, Accounts
from jbackupd.desk.app import DeskSettings, create_app
from jbackupd.desk.audit import open_audit
from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap
from jbackupd.desk.server import DeskServer
from jbackupd.model.clock import ManualClock
from jbackupd.model.units import Address
from jbackupd.storage.chain import read_chain
from jbackupd.storage.files import PosixFiles

AS_OF = datetime(2026, 11, 22, 19, 10, tzinfo=UTC)
ACCOUNT, PASSWORD = "kubo", "bcdf-ghjk-mnpq"


@pytest.fixture(scope="session")
def town(tmp_path_factory):
    """A town after a day, loaded: folder of the database, and what the day's report says."""
    folder = str(tmp_path_factory.mktemp("town"))
    made = make_town(folder, seed=3, residents=3000)
    report = advance_day(folder, seed=3)
    database = os.path.join(folder, "desk.sqlite")
    with open(made.extract, "rb") as source:
        load_extract(
            source, mapping=ColumnMap.parse(COLUMNS, ignore=IGNORE), database=database, as_of=AS_OF,
            loaded_from="imari/juki@2",
        )
    return database, report


@pytest.fixture(scope="session")
def accounts():
    return Accounts([Account.make(ACCOUNT, PASSWORD)])


class Desk:
    """A desk and everything a test wants to reach of it."""

    def __init__(self, folder, database, report, accounts, **options):
        self.files = PosixFiles(str(folder))
        self.clock = ManualClock(datetime(2026, 11, 24, 1, 0, tzinfo=UTC))
        self.report = report
        self.database = database
        self.audit = open_audit(self.files, "audit", self.clock)
        self.settings = DeskSettings(database, self.audit, accounts, "伊万里市", clock=self.clock, **options)
        self.url = ""

    def entries(self):
        return [{"what": entry.fields["what"], **entry.fields} for entry in read_chain(self.files, "audit/desk.chain")]


@contextlib.contextmanager
def served(desk, **tls):
    """Serve in a loop of its own, so that a test may use any blocking client."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def make():
        return DeskServer(create_app(desk.settings), Address("127.0.0.1", 0), **tls)

    try:
        server = call(make())
        call(server.start())
        desk.url = server.url
        yield desk
        call(server.stop())
        call(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def desk(tmp_path, town, accounts):
    with served(Desk(tmp_path, *town, accounts)) as desk:
        yield desk
