"""`jbackupd recovery export`: paper for people; the check tells when it is of an older text."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from jbackupd.cli.main import main

PLAN = Path("config/plans/town.toml").read_text()
SECRETS = ("hunter2-passphrase", "BEGIN PRIVATE")


@pytest.fixture
def call(tmp_path, capsys):
    (tmp_path / "site.toml").write_text(f'version = 1\n[site]\nid = "kyoto"\nstate = "{tmp_path}/state"\n')
    (tmp_path / "plan.toml").write_text(PLAN)

    def calling(*arguments, code=0, language="en"):
        assert main(["-c", str(tmp_path / "site.toml"), "--language", language, *arguments]) == code
        return capsys.readouterr()

    return calling


def test_the_paper_is_noted_and_an_older_one_is_told(call, tmp_path):
    plan = tmp_path / "plan.toml"
    assert "no runbook was printed" in call("recovery", "check", str(plan), code=1).out
    call("recovery", "export", str(plan), "--to", str(tmp_path / "r.html"))
    assert "runbook" not in call("recovery", "check", str(plan), code=1).out
    plan.write_text(PLAN.replace('rto = "3h"', 'rto = "2h"'))
    assert "older text of the plan" in call("recovery", "check", str(plan), code=1).out
    document = json.loads(call("--json", "recovery", "export", str(plan)).out)
    assert document["people_fresh"] in (True, False) and len(document["steps"]) == 19
    assert "older text" in call("recovery", "check", str(plan), code=1).out, "a document is no paper"


def test_what_cannot_be_written_is_said_before_anything_is_noted(call, tmp_path):
    plan = str(tmp_path / "plan.toml")
    assert "neither .html nor .txt" in call("recovery", "export", plan, "--to", str(tmp_path / "r.pdf"), code=2).err
    call("recovery", "export", plan, code=2)
    call("recovery", "export", plan, "--to", str(tmp_path / "no" / "r.html"), code=1)
    assert not (tmp_path / "state" / "runbooks").exists()


def test_no_secret_of_what_the_plan_names_is_on_the_paper(call, tmp_path):
    """Programs and keys lie where the plan says; what is in them must not be read at all."""
    for name, text in zip(("cut.sh", "desk.key"), SECRETS, strict=True):
        (tmp_path / name).write_text(text)
    plan = tmp_path / "plan.toml"
    desk = f'title = "伊万里市"\nprivate_key = "{tmp_path}/desk.key"\ncertificate = "/c.pem"'
    cut = str(tmp_path / "cut.sh")
    plan.write_text(
        PLAN.replace("/usr/local/sbin/jbackupd-cut-saga", cut).replace('title = "伊万里市"', desk)
    )
    for name in ("r.html", "r.txt"):
        call("recovery", "export", str(plan), "--to", str(tmp_path / name))
        written = (tmp_path / name).read_text()
        assert not any(secret in written for secret in SECRETS)
        named = re.sub(r"http://(10\.20\.0\.5|127\.0\.0\.1:[0-9]+)/[a-z]*", "", written)
        assert "http" not in named, "nothing is fetched to show it"


@pytest.mark.parametrize("language", ["ja", "en"])
def test_it_is_printed_on_a4_with_nothing_cut_off(call, tmp_path, language):
    call("recovery", "export", str(tmp_path / "plan.toml"), "--to", str(tmp_path / "r.html"), language=language)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 703, "height": 1000})  # 186 mm: A4 less its margins
        page.goto(f"file://{tmp_path}/r.html")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.pdf(path=str(tmp_path / "r.pdf"), prefer_css_page_size=True)
        browser.close()
    shown = subprocess.run(["pdfinfo", str(tmp_path / "r.pdf")], capture_output=True, check=True, text=True).stdout
    assert "A4" in shown and 2 <= int(re.search(r"Pages: +(\d+)", shown)[1]) <= 6
