"""The command source: the exit code decides, and nothing is no dump."""

from __future__ import annotations

import os
import select
import sys

import pytest

from jbackupd.model.errors import SourceError
from jbackupd.sources.command import STDERR_BYTES, CommandSource
from jbackupd.sources.port import SourceItem


def take(*command: str, **options: object) -> bytes:
    source = CommandSource(command, file_name=b"dump.sql", **options)  # type: ignore[arg-type]
    [item] = list(source.items())
    assert isinstance(item, SourceItem)
    assert (item.path, item.size) == (b"dump.sql", None)
    data = b""
    with item.open() as reader:
        while block := reader.read(100_000):
            data += block
    return data


def test_the_output_is_the_file() -> None:
    assert take("printf", "hello") == b"hello"


def test_much_output_comes_whole() -> None:
    assert len(take(sys.executable, "-c", "import sys; sys.stdout.write('x' * 3_000_000)")) == 3_000_000


def test_an_exit_code_after_all_output_is_a_failure_that_shows_what_the_command_said() -> None:
    with pytest.raises(SourceError, match="failed with exit code 3: no such table"):
        take("sh", "-c", "echo plenty; echo no such table >&2; exit 3")


def test_a_signal_is_a_failure() -> None:
    with pytest.raises(SourceError, match="SIGKILL"):
        take("sh", "-c", "echo plenty; kill -9 $$")


def test_a_signal_without_a_name_is_a_failure_too() -> None:
    with pytest.raises(SourceError, match="failed with signal 40"):
        take("sh", "-c", "echo plenty; kill -40 $$")


def test_a_command_that_complains_without_end_is_read_on_and_its_last_words_are_kept() -> None:
    program = "import sys; [sys.stderr.write('x' * 99_999) for _ in range(50)]; sys.stderr.write('LAST'); sys.exit(1)"
    with pytest.raises(SourceError, match="xxxLAST") as caught:
        take(sys.executable, "-c", program)
    assert len(str(caught.value.fields["complaint"])) == STDERR_BYTES


def test_what_a_command_says_cannot_steer_the_terminal_it_is_shown_on() -> None:
    with pytest.raises(SourceError) as caught:
        take("sh", "-c", r"printf 'a\033[2J\377\nb\302\233' >&2; exit 1")
    assert caught.value.fields["complaint"] == "a\\x1b[2J\\xff\nb\\x9b"


def test_the_end_may_be_asked_for_twice() -> None:
    [item] = list(CommandSource(["true"], file_name=b"x", allow_empty=True).items())
    assert isinstance(item, SourceItem)
    with item.open() as reader:
        assert [reader.read(10), reader.read(10)] == [b"", b""]
        assert not reader.changed()


def test_a_child_that_inherited_only_the_complaints_does_not_hold_the_backup() -> None:
    assert take("sh", "-c", "sleep 600 >/dev/null & echo done") == b"done\n"


def test_a_command_that_closed_its_output_and_goes_on_is_waited_for() -> None:
    with pytest.raises(SourceError, match="exit code 9"):
        take("sh", "-c", "echo x; exec >&-; sleep 0.1; exit 9")
    with pytest.raises(SourceError, match="did not end within"):
        take("sh", "-c", "echo x; exec >&-; sleep 600", timeout_seconds=0.2)


def test_no_output_is_a_failure_unless_it_is_allowed() -> None:
    with pytest.raises(SourceError, match="printed nothing"):
        take("true")
    assert take("true", allow_empty=True) == b""


def test_a_missing_program_is_a_failure() -> None:
    with pytest.raises(SourceError, match="unable to run /nowhere"):
        take("/nowhere")


def test_a_command_that_takes_too_long_is_killed_with_all_of_its_children() -> None:
    with pytest.raises(SourceError, match="did not end within") as caught:
        take("sh", "-c", "sleep 600 & echo $!; wait", timeout_seconds=0.3)
    assert caught.value.exit_code == 1


def test_children_that_stay_behind_are_ended() -> None:
    source = CommandSource(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], file_name=b"x")
    [item] = list(source.items())
    assert isinstance(item, SourceItem)
    with item.open() as reader:
        child = os.pidfd_open(int(reader.read(100)))
        assert reader.read(100) == b""
    ended = select.poll()
    ended.register(child, select.POLLIN)
    assert ended.poll(10_000), "the child was not killed with its group"
    os.close(child)


def test_the_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    assert b"canary" not in take("env")


def test_no_shell_reads_the_arguments() -> None:
    assert take("printf", "%s", "$(id); `id` | x") == b"$(id); `id` | x"


def test_descriptors_are_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    take("printf", "x")
    with pytest.raises(SourceError):
        take("false")
    assert len(os.listdir("/proc/self/fd")) == before
