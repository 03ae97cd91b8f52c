"""What a killed run left in a vault is removed by the next start, so that restarts do not fill the disk."""

import pathlib

from jbackupd.model.ids import TenantId
from jbackupd.service.wiring import clear_leftovers, store_of
from jbackupd.storage.files import PosixFiles


def test_leftovers_of_every_vault_are_removed(tmp_path: pathlib.Path) -> None:
    files = PosixFiles(str(tmp_path))
    clear_leftovers(files)
    for tenant in ("imari", "karatsu"):
        store_of(files, TenantId(tenant)).create()
        files.create(f"vaults/{tenant}/tmp/half").write(b"x" * 1000)
    files.make_folder("vaults/unfinished")
    clear_leftovers(files)
    assert [files.names(f"vaults/{tenant}/tmp") for tenant in ("imari", "karatsu")] == [[], []]
