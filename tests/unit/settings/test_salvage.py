"""A broken configuration still tells where the daemon is that runs on the one before."""

import os
from zoneinfo import ZoneInfo

import pytest

from jbackupd.model.errors import ConfigError
from jbackupd.settings.load import load
from jbackupd.settings.salvage import salvage

MISTAKES = {
    "an unknown key": lambda text: text.replace("[[dataset]]", "[[dataset]]\nshedule = 1"),
    "an unknown table": lambda text: text + "[tenannt]\n",
    "no TOML after the site": lambda text: text + "[[dataset\n",
    "no TOML before the site": lambda text: text.replace("[site]", "ten ant = \n[site]"),
    "no TOML within the site": lambda text: text.replace('id = "saga"', "id = saga"),
    "a text without an end": lambda text: text + 'name = "saga\n',
    "a site without its name": lambda text: text.replace('id = "saga"\n', ""),
    "an unknown zone": lambda text: text.replace("[[tenant]]", 'timezone = "Asia/Imari"\n[[tenant]]'),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_elsewhere_does_not_hide_the_state_folder(smallest, write, mistake):
    path = write(mistake(smallest))
    with pytest.raises(ConfigError):
        load(path)
    assert salvage(path).state == os.path.join(os.path.dirname(path), "state")


def test_the_zone_is_kept_where_it_is_one(smallest, write):
    known = smallest.replace("[[tenant]]", 'timezone = "Asia/Seoul"\n[[tenant]]')
    assert salvage(write(known + "[")).zone == ZoneInfo("Asia/Seoul")


def test_the_site_may_stand_in_another_file(smallest, write):
    site = '[site]\nid = "saga"\nstate = "state"\n'
    path = write(smallest.replace(site, "") + "[")
    write(site, "conf.d/site.toml")
    assert salvage(path).state == os.path.join(os.path.dirname(path), "state")


@pytest.mark.parametrize("text", ["", "[site]\nstate = 7\n", '[site]\nstate = "s', 'state = "state"\n[[', "\0"])
def test_what_does_not_tell_the_state_folder_tells_nothing(write, text):
    assert salvage(write(text)) is None


def test_what_is_missing_or_anybody_may_write_tells_nothing(smallest, write, tmp_path):
    assert salvage(str(tmp_path / "nowhere.toml")) is None
    path = write(smallest + "[")
    os.chmod(path, 0o666)
    assert salvage(path) is None
