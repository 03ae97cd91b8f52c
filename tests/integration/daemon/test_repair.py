"""Damage at a site with daemons: healed from the other sites, at a request and unasked; or named exactly."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from daemons import receipted

from jbackupd.model.ids import ObjectKind, ObjectRef
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.soundness import Soundness
from jbackupd.vault.store import ObjectStore


def packs(site) -> list[Path]:
    return sorted((site.state / "vaults/imari/packs").glob("*/*"), key=lambda path: -path.stat().st_size)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def store_of(site) -> ObjectStore:
    return ObjectStore(PosixFiles(str(site.state)), "vaults/imari")


def test_damage_at_the_owner_and_at_a_holder_is_healed_over_the_line(town) -> None:
    (town.data / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    saga, kyoto, hokkaido = town.three()
    kyoto.start()
    hokkaido.start()
    saga.start().until(lambda page: receipted(page, 1, peers=2))
    flip(packs(saga)[0])
    next((saga.state / "vaults/imari/indexes").iterdir()).unlink()
    point = next((saga.state / "vaults/imari/points").iterdir())
    point.write_bytes(point.read_bytes()[:-100])
    found = saga.command("verify", expect=4)
    # What only the damaged point needs is not yet known to be missing.
    assert len(found["findings"]) == 2 and found["unsound_objects"] == 2
    assert len(saga.command("vault", "repair", "--dry-run", expect=4)["vaults"][0]["broken"]) == 2
    done = saga.command("vault", "repair", "imari")["vaults"][0]
    assert done["healed"] == 3 and done["broken"] == [] and done["failures"] == {}
    assert saga.command("verify", "--full")["findings"] == []
    assert saga.command("vault", "repair")["vaults"][0]["healed"] == 0
    # A site that only stores heals its copy from the owner; it needs no key for that.
    packs(kyoto)[0].unlink()
    done = kyoto.command("vault", "repair", "--from", "saga")["vaults"][0]
    assert done["healed"] == 1 and done["places"] == ["saga"]
    assert kyoto.command("verify")["findings"] == []
    saga.command("vault", "repair", "--from", "nowhere")  # nothing is broken: nobody is asked
    packs(saga)[0].unlink()
    assert "neither" in saga.command("vault", "repair", "--from", "nowhere", expect=10)["error"]["message"]
    # Another copy of the vault, brought on a disk.
    done = saga.command("vault", "repair", "--from", str(hokkaido.state))["vaults"][0]
    assert done["healed"] == 1


def test_a_daemon_looks_at_its_share_and_heals_by_itself(town) -> None:
    saga, kyoto, _hokkaido = town.three()
    kyoto.start()
    saga.start().until(lambda page: receipted(page, 1, peers=1))
    assert saga.stop() == 0
    # As if everything had been read forty days ago; then the disk went bad.
    store = store_of(saga)
    soundness, before = Soundness(store), datetime.now(UTC) - timedelta(days=40)
    for kind in ObjectKind:
        for name in store.names(kind):
            soundness.note(ObjectRef(kind, name), before, 1, sound=True)
    soundness.save()
    text = saga.config.read_text()
    saga.config.write_text(f'{text}\n[verify]\nschedule = "1d"\ncover = "1d"\n')
    flip(packs(saga)[0])
    saga.start()
    page = saga.until(lambda page: page["soundness"] and page["soundness"][0]["healed_objects"])
    known = page["soundness"][0]
    assert known["healed_objects"] == 1 and known["unsound_objects"] == 0 and known["coverage"] == 1.0
    assert known["next_run"] > datetime.now(UTC).isoformat()
    samples = saga.metrics()
    assert samples['jbackupd_healed_objects_total{tenant="imari"}'] == 1
    assert samples['jbackupd_verify_coverage_ratio{tenant="imari"}'] == 1
    assert "is sound again, taken from kyoto" in saga.log()
    assert saga.command("verify", "--full")["findings"] == []


def test_what_nobody_has_is_named_with_points_and_files_and_stored_again(town) -> None:
    (town.data / "big").write_bytes(random.Random(2).randbytes(3_000_000))
    saga = town.alone()
    saga.command("backup", "imari/juki", "--local")
    flip(packs(saga)[0])
    assert saga.command("verify", "--budget", "1TB", expect=4)["left_objects"] == 0
    left = saga.command("vault", "repair", expect=4)["vaults"][0]
    (broken,) = left["broken"]
    assert broken["kind"] == "pack" and broken["points"] == ["imari/juki@1"]
    assert left["affected"] and all(each["point"] == "imari/juki@1" for each in left["affected"])
    assert any(each["path"].endswith("big") for each in left["affected"])
    saga.command("backup", "imari/juki", "--local")
    out = saga.state.parent / "out"
    saga.command("restore", "imari/juki@latest", "--to", str(out))
    assert saga.command("vault", "repair", expect=4)["vaults"][0]["affected"] == []
    assert saga.command("verify", "--budget", "nonsense", expect=2)["error"]["code"] == "usage"
    assert saga.command("verify", "--budget", "1h", "--full", expect=2)["error"]["code"] == "usage"
