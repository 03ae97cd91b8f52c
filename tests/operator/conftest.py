"""A site with one tenant and a small source, worked with by the real command."""

import contextlib
import io
import json
import os
import subprocess

import pytest

from jbackupd.cli.main import main
from jbackupd.model.texts import set_language


class Town:
    """A site's folder, and its commands as an operator types them.

    Attributes:
        folder: Holds configuration, source, state and shares.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.config = self.path("jbackupd.toml")
        if os.path.exists(self.config):
            return
        os.makedirs(self.path("source/folder"))
        self.write("source/a.txt", b"first\n")
        self.write("source/folder/住民.csv", "氏名,住所\n".encode("cp932") * 100)
        self.configure()

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, data: bytes) -> None:
        with open(self.path(name), "wb") as file:
            file.write(data)

    def configure(self, source: str = 'kind = "files", paths = ["source"]', dataset: str = "imari/juki") -> None:
        text = (
            'version = 1\n[site]\nid = "saga"\nstate = "state"\n[[tenant]]\nid = "imari"\n'
            f'[[dataset]]\nid = "{dataset}"\nsource = {{ {source} }}\n'
        )
        self.write("jbackupd.toml", text.encode())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command as its process would; in this one, which saves half a second of imports each time."""
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
        call = ["-c", self.config, "--language", "en", *arguments]
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            code = main(call)
        out, error = (stream.buffer.getvalue() for stream in streams)
        return subprocess.CompletedProcess(call, code, out, error)

    def document(self, *arguments: str, expected: int = 0) -> dict:
        """Run a command with --json and return its document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == expected, done.stderr.decode()
        document = json.loads(done.stdout)
        assert document["schema"] == 1
        return document

    def make_vault(self, shares: str = "shares", expected: int = 0) -> dict:
        """Make the tenant's vault; the shares go into a folder of this name."""
        call = ("vault", "init", "imari", "--shares", "2-of-3", "--share-dir", self.path(shares))
        return self.document(*call, expected=expected)

    def flip(self, kind: str, byte: int = 100) -> str:
        """Flip a bit in the first object of a kind and return the object's name."""
        folder = self.path(f"state/vaults/imari/{kind}")
        path = sorted(os.path.join(at, name) for at, _folders, names in os.walk(folder) for name in names)[0]
        with open(path, "r+b") as file:
            file.seek(byte)
            old = file.read(1)[0]
            file.seek(byte)
            file.write(bytes([old ^ 1]))
        return os.path.basename(path)


@pytest.fixture(autouse=True)
def own_language(monkeypatch):
    """Keep what a command sets for its process from other tests."""
    monkeypatch.setenv("LANGUAGE", "en")
    yield
    set_language("en")


@pytest.fixture
def town(tmp_path) -> Town:
    """Return a site that is configured and has no vault yet."""
    return Town(str(tmp_path))


@pytest.fixture
def vaulted(town) -> Town:
    """Return a site with a vault and no point yet."""
    town.make_vault()
    return town
