"""One daemon: its beginning, its end, and everything between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from jbackupd.model.errors import NotFoundError, SourceError, TryLaterError, UsageError


def newest(page):
    return page["datasets"][0]["newest"]


def test_it_says_ready_takes_what_is_due_and_stops_when_told(town) -> None:
    saga = town.alone(schedule="15m").start()
    page = saga.until(lambda page: newest(page) is not None)
    assert newest(page)["sequence"] == 1
    assert page["datasets"][0]["deadline"] == "met"
    assert page["datasets"][0]["next_run"] > newest(page)["taken_at"]
    assert saga.stop() == 0
    assert not (saga.state / "control.sock").exists()
    assert [p["sequence"] for p in saga.command("points", "list")["points"]] == [1]


def test_systemd_is_told_how_it_stands_and_that_it_stops(town) -> None:
    saga = town.alone().start(watchdog_usec=300_000)
    saga.expect_notice("WATCHDOG=1")
    saga.until(lambda page: newest(page) is not None)
    saga.send(signal.SIGTERM)
    saga.expect_notice("STOPPING=1")
    assert saga.wait() == 0
    assert any(line.startswith("STATUS=1 datasets") for line in saga.notified)


def test_a_backup_on_request_tells_its_progress_and_its_result(town) -> None:
    saga = town.alone()
    (town.data / "big").write_bytes(os.urandom(20_000_000))
    saga.start().until(lambda page: newest(page) is not None)
    (town.data / "more").write_text("changed")
    events = []
    result = saga.call("backup", events.append, dataset="imari/juki")
    assert (result["point"], result["files"], result["unreadable_files"]) == ("imari/juki@2", 3, 0)
    assert [event["state"] for event in events][:1] == ["queued"]
    assert {event["number"] for event in events} == {result["job"]}
    document = saga.command("backup", "imari/juki")
    assert document["point"] == "imari/juki@3"


def test_an_unreadable_file_makes_the_command_end_with_three(town) -> None:
    saga = town.alone().start()
    (town.data / "gone").symlink_to("nowhere")
    os.mkfifo(town.data / "fifo")
    document = saga.command("backup", "imari/juki", expect=3)
    assert [missing["path"] for missing in document["unreadable"]] == ["fifo"]
    page = saga.status()
    assert page["datasets"][0]["unreadable_files"] == 1
    assert saga.metrics()['jbackupd_last_backup_unreadable_files{dataset="imari/juki"}'] == 1


def test_a_source_that_is_gone_fails_with_its_class_and_is_tried_again(town) -> None:
    saga = town.alone().start()
    saga.until(lambda page: newest(page) is not None)
    town.data.rename(town.folder / "elsewhere")
    with pytest.raises(SourceError):
        saga.call("backup", dataset="imari/juki")
    page = saga.status()
    assert page["datasets"][0]["last_job"]["state"] == "failed"
    assert newest(page)["sequence"] == 1
    assert saga.metrics()['jbackupd_last_backup_failed{dataset="imari/juki"}'] == 1
    (town.folder / "elsewhere").rename(town.data)
    assert saga.call("backup", dataset="imari/juki")["sequence"] == 2


def test_unknown_names_are_refused_with_their_class(town) -> None:
    saga = town.alone().start()
    with pytest.raises(NotFoundError):
        saga.call("backup", dataset="imari/other")
    with pytest.raises(UsageError):
        saga.call("backup", dataset="imari")
    with pytest.raises(NotFoundError):
        saga.call("limit.set", peer="nobody", bytes_per_second=1)
    with pytest.raises(NotFoundError):
        saga.call("peer.ping", peer="nobody")


def test_a_second_start_and_a_local_command_are_refused_with_seven(town) -> None:
    saga = town.alone().start()
    done = subprocess.run(
        [sys.executable, "-m", "jbackupd", "-c", str(saga.config), "run"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 7
    assert str(saga.process.pid) in done.stderr.decode()
    assert saga.command("backup", "imari/juki", "--local", expect=7)["error"]["code"] == "busy"
    assert saga.status()["pid"] == saga.process.pid


def test_reading_commands_work_beside_the_daemon(town) -> None:
    saga = town.alone().start()
    saga.until(lambda page: newest(page) is not None)
    entries = saga.command("ls", "imari/juki")["entries"]
    assert [entry["path"] for entry in entries] == ["register.csv"]


def test_a_killed_daemon_leaves_nothing_that_hinders_the_next(town) -> None:
    saga = town.alone(schedule="15m").start()
    saga.until(lambda page: newest(page) is not None)
    saga.kill()
    assert (saga.state / "control.sock").exists()
    with pytest.raises(NotFoundError):
        saga.status()
    page = saga.start().status()
    assert newest(page)["sequence"] == 1
    assert page["datasets"][0]["last_job"]["state"] == "done"
    assert saga.call("backup", dataset="imari/juki")["sequence"] == 2


def test_a_daemon_killed_in_the_middle_of_a_backup_says_so_and_takes_it_later(town) -> None:
    saga = town.alone(schedule="15m")
    saga.configure(town.own("15m").replace(
        f'kind = "files", paths = ["{town.data}"]', 'kind = "command", command = ["sleep", "1000"], file_name = "dump"'
    ))
    saga.start().until(lambda page: page["jobs"] and page["jobs"][0]["state"] == "running")
    saga.kill()
    saga.configure(town.own("15m"))
    page = saga.start().status()
    assert page["datasets"][0]["last_job"]["state"] == "lost"
    assert saga.call("backup", dataset="imari/juki")["sequence"] == 1


def test_stopping_ends_a_backup_between_blocks_without_a_point(town) -> None:
    saga = town.alone()
    saga.configure(town.own("15m").replace(
        f'kind = "files", paths = ["{town.data}"]',
        'kind = "command", file_name = "dump", '
        'command = ["sh", "-c", "while head -c 4000000 /dev/zero; do sleep 0.05; done"]',
    ))
    saga.start().until(lambda page: page["jobs"] and page["jobs"][0]["state"] == "running")
    seen = []

    def watch(event) -> None:
        if not seen:
            saga.send(signal.SIGTERM)
        seen.append(event)

    with pytest.raises(TryLaterError):
        saga.call("backup", watch, dataset="imari/juki")
    assert saga.wait() == 0
    assert saga.command("points", "list")["points"] == []


def test_a_bad_configuration_is_not_taken_and_a_good_one_is(town) -> None:
    saga = town.alone().start()
    before = saga.until(lambda page: newest(page) is not None)
    good = saga.config.read_text()
    saga.config.write_text(good.replace('schedule = "daily 02:00"', 'shedule = "hourly"'))
    saga.send(signal.SIGHUP)
    page = saga.until(lambda page: page["configuration"]["error"] is not None)
    assert page["datasets"][0]["schedule"] == "daily 02:00"
    assert page["configuration"]["loaded_at"] == before["configuration"]["loaded_at"]
    assert "shedule" in str(page["configuration"]["error"])
    assert saga.metrics()["jbackupd_config_error"] == 1
    saga.config.write_text(good.replace("daily 02:00", "hourly"))
    saga.send(signal.SIGHUP)
    page = saga.until(lambda page: page["configuration"]["error"] is None)
    assert page["datasets"][0]["schedule"] == "hourly"
    assert saga.metrics()["jbackupd_config_error"] == 0
    assert saga.notified.count("READY=1") == 1
    saga.expect_notice("READY=1")


def test_another_state_folder_or_an_address_in_use_is_not_taken(town) -> None:
    saga = town.alone().start()
    good = saga.config.read_text()
    for bad in (
        good.replace(str(saga.state), str(saga.state) + "2"),
        good.replace(f"127.0.0.1:{saga.port}", f"127.0.0.1:{saga.metrics_port}"),
    ):
        saga.config.write_text(bad)
        saga.send(signal.SIGHUP)
        saga.until(lambda page: page["configuration"]["error"] is not None)
        saga.config.write_text(good)
        saga.send(signal.SIGHUP)
        saga.until(lambda page: page["configuration"]["error"] is None)


def test_a_dataset_that_leaves_the_configuration_leaves_the_metrics(town) -> None:
    saga = town.alone().start()
    saga.until(lambda page: newest(page) is not None)
    assert any("imari/juki" in name for name in saga.metrics())
    text = saga.config.read_text()
    saga.config.write_text(text[: text.index("[[dataset]]")])
    saga.send(signal.SIGHUP)
    saga.until(lambda page: not page["datasets"])
    of_points = ("jbackupd_held", "jbackupd_sample")
    assert not any("imari/juki" in name for name in saga.metrics() if not name.startswith(of_points))


def test_the_metrics_are_right_from_the_first_scrape_after_a_restart(town) -> None:
    saga = town.alone().start()
    saga.until(lambda page: newest(page) is not None)
    saga.stop()
    numbers = saga.start().metrics()
    assert numbers['jbackupd_point_sequence{dataset="imari/juki"}'] == 1
    assert numbers['jbackupd_rpo_met{dataset="imari/juki"}'] == 1
    assert numbers['jbackupd_last_backup_unreadable_files{dataset="imari/juki"}'] == 0
    assert 0 <= numbers['jbackupd_point_age_seconds{dataset="imari/juki"}'] < 60


def test_the_log_is_one_document_a_line(town) -> None:
    saga = town.alone().start()
    saga.until(lambda page: newest(page) is not None)
    saga.stop()
    lines = saga.log().splitlines()
    assert all(re.match(r'\{"time": ".*\}$', line) for line in lines)
    assert any("point 1 taken" in line for line in lines)


def test_a_site_without_identity_is_told_what_to_do(town) -> None:
    saga = town.site("saga")
    saga.configure("")
    done = subprocess.run(
        [sys.executable, "-m", "jbackupd", "-c", str(saga.config), "run"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 10
    assert b"site init" in done.stderr
