"""The command line as a person and a script meet it: words, documents, exit codes, endings."""

import json
import os
import signal
import subprocess
import sys

import pytest

SMALLEST = """\
version = 1
[site]
id = "saga"
state = "state"
[[tenant]]
id = "imari"
[[dataset]]
id = "imari/juki"
source = { kind = "files", paths = ["."] }
"""


def jbackupd(*arguments, language="C.UTF-8", environment=None, **options):
    """Run the command in a process of its own and return what it did."""
    return subprocess.run(
        [sys.executable, "-m", "jbackupd", *arguments],
        env={**os.environ, "LC_ALL": language, **(environment or {})},
        capture_output=True, timeout=60, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def configuration(tmp_path):
    path = tmp_path / "jbackupd.toml"
    path.write_text(SMALLEST, encoding="utf-8")
    return str(path)


def test_data_goes_to_stdout_and_a_good_check_says_nothing_else(configuration):
    done = jbackupd("-c", configuration, "config", "check")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"fine: site saga, tenants 1, datasets 1" in done.stdout


def test_a_misspelt_key_ends_with_78_and_says_file_line_and_what_was_meant(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(SMALLEST.replace("state =", "staet ="), encoding="utf-8")
    done = jbackupd("config", "check", "-c", str(path))
    assert (done.returncode, done.stdout) == (78, b"")
    assert f"{path}:4: site.staet: there is no such key (did you mean 'state'?)".encode() in done.stderr

    document = json.loads(jbackupd("--json", "config", "check", "-c", str(path), language="ja_JP.UTF-8").stdout)
    assert (document["schema"], document["error"]["exit_code"]) == (1, 78)
    assert [(problem["line"], problem["key"]) for problem in document["error"]["problems"]] == [
        (2, "site.state"), (4, "site.staet"),
    ]  # fmt: skip
    assert document["error"]["message"].isascii()


def test_global_options_may_stand_on_either_side_of_the_command(configuration):
    before = jbackupd("-c", configuration, "--json", "config", "check")
    after = jbackupd("config", "check", "--json", "--config", configuration)
    assert before.stdout == after.stdout
    assert json.loads(after.stdout)["site"] == "saga"


@pytest.mark.parametrize("arguments", [["nope"], ["config", "check", "--nope"], ["config", "init"], ["ls"], []])
def test_a_wrong_call_ends_with_2_and_points_to_the_help(arguments):
    done = jbackupd(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--help" in done.stderr


def test_help_and_errors_speak_japanese_by_locale_and_by_option():
    assert "復元点".encode() in jbackupd("--help", language="ja_JP.UTF-8").stdout
    assert "使い方".encode() in jbackupd("config", "--help", "--language", "ja").stdout
    assert b"Usage" in jbackupd("config", "--help", "--language=en", language="ja_JP.UTF-8").stdout
    done = jbackupd("-c", "/nonexistent.toml", "config", "check", language="ja_JP.UTF-8")
    assert (done.returncode, "設定ファイルを読み取れません" in done.stderr.decode()) == (78, True)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_command_of_the_overview_explains_itself(language):
    code = (
        "import click, sys\nfrom jbackupd.cli.main import _root, main\nfrom jbackupd.cli.output import Frame\n"
        "def explain(group, path):\n"
        "    for name in group.list_commands(context):\n"
        "        code = main(['--language', sys.argv[1], *path, name, '--help'])\n"
        "        print('ended', code, *path, name)\n"
        "        below = group.get_command(context, name)\n"
        "        if isinstance(below, click.Group):\n"
        "            explain(below, [*path, name])\n"
        "context = click.Context(_root(), obj=Frame())\nexplain(_root(), [])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, language], capture_output=True, check=True, text=True)
    ended = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended")]
    assert {"config", "backup", "points", "ls", "cat", "verify", "vault"} <= {words[1] for words in ended}
    assert [words for words in ended if words[0] != "0"] == []
    assert done.stderr == ""


def test_the_overview_imports_no_command():
    code = (
        "import sys; from jbackupd.cli.main import main; main(['--help'])\n"
        "print([m for m in sys.modules if m.startswith(('pydantic', 'asyncssh', 'cryptography', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_defect_of_ours_is_one_line_and_the_traceback_lies_in_a_private_file(tmp_path):
    code = (
        "import click, sys\nimport jbackupd.cli.config as module\nfrom jbackupd.cli.main import main\n"
        "module.check.callback = lambda: 1 / 0\nsys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", code, "config", "check"], env=environment, capture_output=True, check=False, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "a defect of jbackupd: ZeroDivisionError" in done.stderr
    (report,) = tmp_path.iterdir()
    assert "Traceback" in report.read_text()
    assert report.stat().st_mode & 0o777 == 0o600
    assert str(report) in done.stderr

    debugging = subprocess.run(
        [sys.executable, "-c", code, "config", "check"], env={**environment, "JBACKUPD_DEBUG": "1"},
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert "Traceback" in debugging.stderr


@pytest.mark.parametrize(("raised", "expected"), [("KeyboardInterrupt", 130), ("BrokenPipeError", 141)])
def test_an_interrupt_and_a_closed_pipe_end_quietly_with_the_signals_code(raised, expected):
    code = (
        "import sys\nimport jbackupd.cli.config as module\nfrom jbackupd.cli.main import main\n"
        f"def check():\n    raise {raised}\n"
        "module.check.callback = check\nsys.exit(main(['config', 'check']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == expected
    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_us_like_sigpipe():
    process = subprocess.Popen(
        [sys.executable, "-m", "jbackupd", "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + signal.SIGPIPE, b"")


def test_init_writes_a_file_that_can_be_used_and_never_overwrites_one(tmp_path):
    path = str(tmp_path / "new.toml")
    call = ["-c", path, "config", "init", "--site", "saga", "--dataset", "imari/juki", "--path", str(tmp_path)]
    assert jbackupd(*call).returncode == 0
    shown = jbackupd("-c", path, "config", "show", "--json")
    assert json.loads(shown.stdout)["settings"]["dataset"][0]["schedule"] == "daily 02:00"
    again = jbackupd(*call)
    assert (again.returncode, b"is not overwritten" in again.stderr) == (5, True)


def test_what_show_prints_can_be_used_as_a_configuration(configuration, tmp_path):
    shown = jbackupd("-c", configuration, "config", "show")
    copy = tmp_path / "copy.toml"
    copy.write_bytes(shown.stdout)
    assert jbackupd("-c", str(copy), "config", "show").stdout == shown.stdout


def test_the_schema_describes_every_table_for_editors():
    document = json.loads(jbackupd("config", "schema").stdout)
    assert document["properties"].keys() >= {"version", "site", "tenant", "dataset", "peer", "officer", "log"}
    assert document["additionalProperties"] is False


def test_a_terminal_that_cannot_show_japanese_gets_escapes(configuration):
    text = 'version = 1\n[site]\nid = "佐賀"\nstate = "s"\n'
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(text)
    done = jbackupd("-c", configuration, "config", "check", environment={"PYTHONIOENCODING": "iso8859-1"})
    assert done.returncode == 78
    assert b"'\\u4f50\\u8cc0' is not a name" in done.stderr
