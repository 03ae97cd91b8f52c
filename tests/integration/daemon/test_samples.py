"""Sample restores: proved by restoring, failed where it cannot be, not proved where nobody can try; nothing is left."""

from __future__ import annotations

import shutil
from pathlib import Path

from daemons import receipted


def nothing_left(state: Path) -> bool:
    return not (state / "samples" / "scratch").exists()


def test_a_site_proves_its_datasets_and_a_holder_says_that_it_cannot(town, tmp_path: Path) -> None:
    for number in range(30):
        (town.data / f"{number:02d}.txt").write_text(f"file {number}\n" * number)
    saga, kyoto, _hokkaido = town.three()
    saga.start()
    kyoto.start()
    saga.until(lambda page: receipted(page, 1, peers=1))

    saga.command("sample", "imari/juki")
    (known,) = saga.status()["samples"]
    assert (known["state"], known["whole"], known["files"]) == ("proved", True, 31)
    assert saga.metrics()['jbackupd_sample_state{dataset="imari/juki",state="proved"}'] == 1
    (held,) = kyoto.command("sample", "imari/juki", expect=3)["samples"]
    assert held["state"] == "unproved" and "without its keys" in held["reason"]
    assert nothing_left(saga.state) and nothing_left(kyoto.state)


def test_what_cannot_be_restored_is_named_and_a_killed_sample_leaves_nothing_for_long(town) -> None:
    for number in range(8):
        (town.data / f"{number}.bin").write_bytes(bytes([number]) * 3000 + str(number).encode() * 40_000)
    saga = town.alone()
    assert saga.command("sample", "imari/juki", "--local", expect=3)["samples"][0]["state"] == "unproved"
    saga.command("backup", "imari/juki", "--local")
    assert saga.command("sample", "--local")["samples"][0]["state"] == "proved"
    scratch = saga.state / "samples" / "scratch"
    scratch.mkdir()
    (scratch / "of a killed one").write_text("personal data")
    for pack in (saga.state / "vaults" / "imari" / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            for at in range(200, len(data), 512):
                data[at] ^= 1
            pack.write_bytes(data)
    found = saga.command("sample", "imari/juki", "--local", expect=4)["samples"][0]
    assert found["state"] == "failed" and found["reason"]
    assert nothing_left(saga.state)
    shutil.rmtree(saga.state / "keyring")
    found = saga.command("sample", "imari/juki", "--local", expect=3)["samples"][0]
    assert found["state"] == "unproved" and "keys" in found["reason"]
