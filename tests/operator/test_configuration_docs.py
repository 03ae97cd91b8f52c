"""What we hand out to operators agrees with the code: the example, the pages, the exit codes."""

import glob
import os
import re
from collections.abc import Iterator

import pytest
import tomli

from jbackupd.model import errors
from jbackupd.settings.explain import tables_of
from jbackupd.settings.load import load
from jbackupd.settings.schema import Settings

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = os.path.join(TOP, "config", "jbackupd.toml")


def page(name: str) -> str:
    with open(os.path.join(TOP, name), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("path", [EXAMPLE, *sorted(glob.glob(os.path.join(TOP, "config", "examples", "*.toml")))])
def test_every_example_can_be_used(path):
    load(path)


def uncommented(text: str) -> Iterator[str]:
    """Yield the example with every setting that is commented out switched on, each key once."""
    seen: set[str] = set()
    for line in text.splitlines():
        setting = re.fullmatch(r"#?((\w+) = .+|\[.+\])", line)
        if setting is None:
            continue
        if setting[1].startswith("["):
            seen = set()
        elif setting[2] in seen:
            continue
        seen.add(setting[2] or "")
        yield setting[1]


def test_the_example_names_every_key_that_exists(tmp_path):
    text = page("config/jbackupd.toml")
    missing = [
        f"{table}.{key}"
        for table, keys in tables_of(Settings, "")
        for key in keys
        if not re.search(rf"(?m)(^#?|[{{,] ){key} = |^#?\[\[?(\w+\.)?{key}\]", text)
    ]
    assert missing == []


def test_the_example_with_everything_switched_on_can_be_used_and_shows_the_defaults(tmp_path):
    text = "\n".join(uncommented(page("config/jbackupd.toml")))
    path = tmp_path / "jbackupd.toml"
    # Approvals need officers: the example shows one.
    path.write_text(text.replace("declare_lost = 2", "declare_lost = 1"), encoding="utf-8")
    settings = load(str(path))
    bare = load(EXAMPLE)
    for name in ("schedule", "tier", "rpo"):
        assert getattr(settings.datasets[0], name) == getattr(bare.datasets[0], name)
    assert settings.tenants[0].history_days == bare.tenants[0].history_days
    assert (settings.desk.listen, settings.log) == (bare.desk.listen, bare.log)


def test_the_page_on_configuration_describes_every_key():
    text = page("docs/operating/configuration.md")
    rows = re.findall(r"(?m)^\| `([a-z_]+)` \|", text)
    wanted = [key for table, keys in tables_of(Settings, "") for key in keys if key not in ("kind",)]
    assert [key for key in wanted if key not in rows and f"[[{key}]]" not in text and f"[{key}]" not in text] == []


def test_toml_blocks_of_the_pages_can_be_used(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", page("docs/operating/configuration.md"), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        tomli.loads(block)
        if "version = 1" in block:
            path = tmp_path / f"{number}.toml"
            path.write_text(block, encoding="utf-8")
            load(str(path))


def test_the_page_on_exit_codes_names_every_class_of_error():
    rows = re.findall(r"(?m)^\| (\d+) \| (.*?) \|", page("docs/operating/exit-codes.md"))
    told = {int(number): set(re.findall(r"`([a-z-]+)`", codes)) - {"defect"} for number, codes in rows}
    classes = [
        value for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.JbackupdError)
    ]
    for error in classes:
        assert error.code in told[error.exit_code], error
    assert set().union(*told.values()) == {error.code for error in classes}
