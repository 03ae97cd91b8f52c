"""Loading a configuration: what is taken, from which files, and every way to be wrong."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from jbackupd.model.errors import ConfigError
from jbackupd.model.ids import DatasetId
from jbackupd.model.texts import in_language
from jbackupd.model.units import Address
from jbackupd.settings.load import CONFIG_BYTES_MAX, load
from jbackupd.settings.schema import CommandSource

EVERYTHING = """\
version = 1
language = "ja"

[site]
id = "saga"
name = "佐賀データセンター"
state = "state"
listen = "[::1]:7420"
timezone = "Asia/Tokyo"

[[tenant]]
id = "imari"
code = "412058"
name = "伊万里市"
history = "closed"

[[tenant]]
id = "arita"
history = { days = 7 }

[[dataset]]
id = "imari/juki"
name = "住民記録"
source = { kind = "command", command = ["pg_dump", "juki"], file_name = "juki.sql", timeout = "30m" }
schedule = "15m"
tier = 1
rpo = "1h"
peers = ["kyoto"]

[[dataset]]
id = "arita/files"
source.kind = "files"
source.paths = ["/srv/arita"]
source.exclude = ["*.tmp"]

[[peer]]
id = "kyoto"
address = "192.0.2.7:7420"
card = "cards/kyoto.card"
limit = "10Mbit/s"
holds = ["uji"]

[[peer]]
id = "hokkaido"
card = "/etc/jbackupd/hokkaido.card"

[[officer]]
id = "somu"
name = "総務課長"
card = "cards/somu.card"

[[officer]]
id = "joho"
card = "cards/joho.card"

[approval]
declare_lost = 2

[desk]
listen = "127.0.0.1:0"

[metrics]

[log]
format = "json"
level = "warning"
"""


def test_everything_that_can_be_written_is_read_into_its_type(write):
    path = write(EVERYTHING)
    folder = os.path.dirname(path)
    settings = load(path)
    juki, files = settings.datasets
    kyoto, hokkaido = settings.peers

    assert settings.site.state == f"{folder}/state"
    assert settings.site.listen == Address("::1", 7420)
    assert [tenant.history_days for tenant in settings.tenants] == [0, 7]
    assert isinstance(juki.source, CommandSource)
    assert (juki.source.command, juki.source.timeout) == (("pg_dump", "juki"), timedelta(minutes=30))
    assert (juki.tier, juki.rpo, juki.schedule.interval) == (1, timedelta(hours=1), timedelta(minutes=15))
    assert settings.peers_of(juki) == (kyoto,)
    assert settings.peers_of(files) == (kyoto, hokkaido)
    assert (kyoto.limit_bytes_per_second, kyoto.card) == (1_250_000, f"{folder}/cards/kyoto.card")
    assert (hokkaido.limit_bytes_per_second, hokkaido.address, hokkaido.holds) == (None, None, ())
    assert settings.metrics is not None
    assert settings.metrics.listen == Address("127.0.0.1", 9420)
    assert settings.dataset(DatasetId.parse("imari/juki")) is juki


def test_the_smallest_configuration_of_the_readme_is_enough(write, smallest):
    settings = load(write(smallest))
    (dataset,) = settings.datasets
    assert (settings.metrics, settings.site.listen, settings.officers) == (None, None, ())
    assert dataset.schedule.next_after(datetime(2026, 11, 23, tzinfo=UTC), settings.site.zone) == datetime(
        2026, 11, 23, 17, tzinfo=UTC
    )


def test_a_misspelt_key_is_named_with_file_line_path_and_the_word_that_was_meant(problems_of, smallest):
    (problem,) = problems_of(smallest.replace("paths =", "exclude = [],\n pats =").replace("state =", "state ="))[1:]
    assert (problem.place.line, problem.key) == (10, "dataset[1].source.pats")
    assert "did you mean 'paths'?" in str(problem)


def test_all_problems_are_told_at_once_in_the_order_of_lines(problems_of):
    text = (
        'version = 2\nlangauge = "ja"\n[site]\nid = "Saga"\nstate = ""\nschedule = "15m"\n'
        '[[dataset]]\nid = "imari"\ntier = "1"\nrpo = 5\nsource = { kind = "file" }\n[log]\nlevel = "warn"\n'
    )
    problems = problems_of(text)
    assert [(problem.place.line, problem.key) for problem in problems] == [
        (1, "version"), (2, "langauge"), (4, "site.id"), (5, "site.state"), (6, "site.schedule"), (8, "dataset[1].id"),
        (9, "dataset[1].tier"), (10, "dataset[1].rpo"), (11, "dataset[1].source"), (13, "log.level"),
    ]  # fmt: skip
    hints = [problem.wrong.render(problem.wrong.hint) for problem in problems]
    assert hints[1] == "did you mean 'language'?"
    assert hints[4] == "it belongs to: dataset, feed, reclaim, verify"
    assert hints[8] == "did you mean 'files'? Possible: files, command"
    assert hints[9] == "did you mean 'warning'? Possible: debug, info, warning, error"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('paths = ["/srv/juki"]', 'paths = "/srv"', "must be a list"),
        ('paths = ["/srv/juki"]', "paths = [1]", "must be a text in quotes"),
        ('paths = ["/srv/juki"]', "paths = []", "needs at least one value"),
        ('paths = ["/srv/juki"]', 'exclude = ["x"]', "is missing"),
        ('kind = "files", ', "", "kind is missing"),
        ('paths = ["/srv/juki"]', 'paths = ["/srv/juki", "/old/juki"]', "ends in the same name as /srv/juki"),
        ('"imari/juki"\n', '"imari/juki"\ntier = true\n', "must be a whole number without quotes"),
        ('"imari/juki"\n', '"imari/juki"\ntier = 6\n', "must be 5 or less"),
        ('"imari/juki"\n', '"imari/juki"\ntier = 1.0\n', "must be a whole number without quotes"),
        ('"imari/juki"\n', '"imari/juki"\nschedule = "dayly 02:00"\n', "'dayly 02:00' is not a schedule"),
        ('"imari/juki"\n', '"imari/juki"\nrpo = "24"\n', "'24' is not a duration"),
        ('"imari/juki"\n', '"imari/juki"\nname = ""\n', "cannot be empty"),
        ('"imari/juki"\n', '"imari/juki"\npeers = ["kyoto"]\n', "there is no [[peer]] with the id 'kyoto'"),
        ('id = "imari"\n', 'id = "imari"\ncode = "412059"\n', "the check digit of '412059' does not fit"),
        ('id = "imari"\n', 'id = "imari"\ncode = "４１２０５８"\n', "is not a municipal code"),
        ('id = "imari"\n', 'id = "imari"\nhistory = { days = 0 }\n', "is not a history"),
        ('id = "imari"\n', 'id = "imari"\nhistory = { days = true }\n', "is not a history"),
        ('id = "imari"\n', 'id = "imary"\n', "there is no [[tenant]] with the id 'imari'"),
        ('id = "imari"\n', 'id = "imari"\n[[tenant]]\nid = "imari"\n', "'imari' is already written at"),
        ('state = "state"', 'state = "state"\ntimezone = "Asia/Tokio"', "'Asia/Tokio' is not a time zone"),
        ('state = "state"', 'state = "state"\nlisten = "7420"', "'7420' is not an address"),
        ('state = "state"', 'state = "a\\u0000b"', "zero byte"),
        ("[site]", "[[site]]", "must be a table"),
        ("[[tenant]]", "[tenant]", "must be a list"),
    ],
)
def test_nothing_is_coerced_and_each_mistake_is_told_in_words(problems_of, smallest, old, new, message):
    assert old in smallest
    assert any(message in str(problem) for problem in problems_of(smallest.replace(old, new, 1)))


def test_peers_and_officers_must_make_sense_together(problems_of, smallest):
    peers = '[[peer]]\nid = "saga"\ncard = "c"\n[[peer]]\nid = "kyoto"\ncard = "c"\nholds = ["imari"]\n'
    texts = [str(problem) for problem in problems_of(smallest + peers + '[[officer]]\nid = "somu"\ncard = "c"\n')]
    assert [any(part in text for text in texts) for part in (
        "peer[1].id: 'saga' is this site itself",
        "peer[2].holds[1]: 'imari' is a tenant of this site itself",
        "2 approvals are wanted of 1 officers",
    )] == [True, True, True]


def test_conf_d_is_merged_in_the_order_of_names(write, smallest):
    path = write(smallest)
    write('[[dataset]]\nid = "imari/zei"\nsource = { kind = "files", paths = ["zei"] }\n', "conf.d/20-zei.toml")
    write('version = 1\n[site]\nname = "佐賀"\n[log]\nlevel = "debug"\n', "conf.d/10-site.toml")
    write("this is not read", "conf.d/README")
    settings = load(path)
    assert [str(dataset.id) for dataset in settings.datasets] == ["imari/juki", "imari/zei"]
    assert (settings.site.name, settings.log.level) == ("佐賀", "debug")
    # Relative to the main file, wherever the path is written.
    assert settings.datasets[1].source.paths == (os.path.join(os.path.dirname(path), "zei"),)


def test_what_two_files_say_is_refused_and_both_are_named(write, smallest):
    path = write(smallest)
    other = write(
        '[site]\nid = "kyoto"\n[[tenant]]\nid = "imari"\n[[dataset]]\nid = "imari/zei"\nteir = 1\n'
        'source = { kind = "files", paths = ["/zei"] }\n',
        "conf.d/a.toml",
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert f"{other}:2: site.id: is already written at {path}:3" in text
    # A position counts over all files; the place is the file's own.
    assert f"{other}:7: dataset[2].teir: there is no such key (did you mean 'tier'?)" in text

    write('[[tenant]]\nid = "imari"\n', "conf.d/a.toml")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert f"{other}:2: tenant[2].id: 'imari' is already written at {path}:6" in str(caught.value)


def test_what_is_not_toml_is_refused_with_its_line(write, problems_of, smallest):
    assert problems_of(smallest + '[log\nlevel = "info"\n')[0].place.line == 10
    assert problems_of(smallest + "[site]\n")[0].place.line == 10
    assert "nested too deeply" in str(problems_of("a = " + "[" * 5000)[0])


def test_files_that_cannot_be_a_configuration_are_refused(write, tmp_path, problems_of):
    path = write("")
    with open(path, "wb") as file:
        file.write(b'version = 1\nname = "\x8d\xb2"\n')
    with pytest.raises(ConfigError, match="line 2 is not UTF-8"):
        load(path)
    with pytest.raises(ConfigError, match="No such file"):
        load(str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match="Is a directory"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match="too long"):
        load(write("#" * (CONFIG_BYTES_MAX + 1)))


def test_a_configuration_that_anybody_may_write_is_refused(write, smallest):
    path = write(smallest)
    os.chmod(path, 0o646)
    with pytest.raises(ConfigError, match="anybody may write"):
        load(path)
    os.chmod(path, 0o664)
    load(path)


@pytest.mark.parametrize(
    "line",
    [
        'password = "hakata-2026"',
        'api_key = "hakata-2026"',
        'name = "postgresql://juki:hakata-2026@db/juki"',
        'source = { kind = "command", file_name = "a", command = ["sh", "-c", "PGPASSWORD=hakata-2026 pg_dump"] }',
        'source = { kind = "command", file_name = "a", command = ["mysqldump", "--password=hakata-2026"] }',
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_never_repeated(write, line):
    head = 'version = 1\n[site]\nid = "saga"\nstate = "s"\n[[tenant]]\nid = "imari"\n[[dataset]]\nid = "imari/a"\n'
    with pytest.raises(ConfigError) as caught:
        load(write(head + line))
    assert ":9: dataset[1]" in str(caught.value)
    assert "looks like a secret" in str(caught.value)
    assert "hakata-2026" not in str(caught.value)


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_key_file_that_others_may_read_is_refused(write, smallest, tmp_path, mode, refused):
    key = tmp_path / "state" / "site" / "identity.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"key")
    key.chmod(mode)
    path = write(smallest)
    if not refused:
        load(path)
        return
    with pytest.raises(ConfigError, match="others may use the key file"):
        load(path)


def test_a_thorough_check_misses_cards_paths_and_programs(write):
    with pytest.raises(ConfigError) as caught:
        load(write(EVERYTHING.replace('"pg_dump"', '"no-such-program"')), thorough=True)
    keys = {problem.key for problem in caught.value.fields["problems"]}
    assert keys >= {"peer[1].card", "peer[2].card", "officer[1].card", "dataset[1].source.command[1]"}
    assert "dataset[2].source.paths[1]" in keys


def test_problems_are_told_in_japanese_when_japanese_is_spoken(problems_of, smallest):
    (problem,) = problems_of(smallest.replace("state =", 'state = "s"\nstat ='))
    with in_language("ja"):
        assert "もしかして" in str(problem)
