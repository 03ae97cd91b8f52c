"""A small extract and what is made of it."""

import io
from datetime import UTC, datetime

import pytest

from jbackupd.desk.extract import load_extract
from jbackupd.desk.fields import ColumnMap, Field
from jbackupd.desk.residents import Residents

AS_OF = datetime(2026, 11, 22, 19, 10, tzinfo=UTC)
LEFT_OUT = (Field.ADDRESS, Field.WARD, Field.SHELTER, Field.SUPPORT)
HEADERS = [field.value for field in Field if field not in LEFT_OUT]
PEOPLE = [
    "00012345,H1,佐藤　花子,サトウ　ハナコ,1993-01-01,2,1,本町,1番2号,,妻,2,伊万里市本町1,佐藤　一郎,0",
    "00012344,H1,佐藤　一郎,サトウ　イチロウ,3600305,1,1,本町,1番2号,,世帯主,1,伊万里市本町1,佐藤　一郎,0",
    "00012346,H2,髙橋　実,ﾀｶﾊｼ ﾐﾉﾙ,昭和10年00月00日,1,3,栄町,3番4号,コーポ101,世帯主,1,唐津市,髙橋　実,",
    "00012347,H3,渡邉　シヅ,ワタナベ　シヅ,2100101,2,1,東山,5番6号,,世帯主,1,日田市,渡邉　シヅ,1",
    "00012348,H3,渡邉　健,ワタナベ　ケン,H10.4.1,1,1,東山,5番6号,,子,,日田市,渡邉　シヅ,0",
    "19930101,H4,NGUYEN VAN AN,グエン　ヴァン　アン,2000-02-29,1,2,西原,7番8号,,世帯主,1,,,0",
    "00012350,H5,山\ue000　京子,ヤマサキ　キョーコ,4050101,2,1,南町,9番,,世帯主,1,,,0",
]


def extract(people=None, headers=None, encoding="cp932"):
    lines = [",".join(headers or HEADERS), *(PEOPLE if people is None else people)]
    return io.BytesIO("".join(f"{line}\r\n" for line in lines).encode(encoding))


def full_map(**options):
    return ColumnMap.parse({header: header for header in HEADERS}, **options)


@pytest.fixture
def load(tmp_path):
    database = str(tmp_path / "desk" / "residents.sqlite")

    def run(source=None, mapping=None, **options):
        options = {"as_of": AS_OF, "loaded_from": "imari/juki@2", **options}
        return load_extract(source or extract(), mapping=mapping or full_map(), database=database, **options)

    run.database = database
    return run


@pytest.fixture
def residents(load):
    load()
    residents = Residents(load.database)
    yield residents
    residents.close()
