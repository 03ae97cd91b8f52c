"""Opens a municipality's package: python3 start.py. Needs Python and nothing else.

Run from the package's folder. It looks whether every file of the program is as it was written, and runs the program
that fits this machine; all else is that program's. Written so that an old Python can say that it is too old.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig

HERE = os.path.dirname(os.path.abspath(__file__))


def fail(japanese: str, english: str) -> None:
    """End with a message in both languages."""
    sys.stderr.write(f"{japanese}\n{english}\n")
    sys.exit(4)


def files_of_the_program(tag: str) -> dict[str, list[object]]:
    """Return the names, lengths and digests of the files that this machine will run."""
    files: dict[str, list[object]] = {}
    try:
        with open(os.path.join(HERE, "manifest.json"), "rb") as file:
            files = json.loads(file.readline().decode("utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        fail(
            "manifest.json が読めません。パッケージを写し直してください。",
            "manifest.json cannot be read: copy the package again.",
        )
    found = {name: fact for name, fact in files.items() if name.startswith(f"program/{tag}/") or name == "start.py"}
    if len(found) < 2:
        known = ", ".join(sorted({name.split("/")[1] for name in files if name.startswith("program/")}))
        fail(
            f"この端末({tag})用のプログラムが入っていません。使える端末: {known}",
            f"The package has no program for this machine ({tag}). It has: {known}",
        )
    return found


def check(found: dict[str, list[object]]) -> None:
    """Look at every file of the program, so that a bad stick is told as what it is."""
    for name, (size, digest) in sorted(found.items()):
        try:
            with open(os.path.join(HERE, *name.split("/")), "rb") as file:
                data = file.read()
        except OSError:
            data = b""
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            fail(
                f"ファイル {name} が壊れています。パッケージを写し直してください。",
                f"The file {name} is damaged: copy the package again.",
            )


def main() -> None:
    """Check, and run."""
    if sys.version_info < (3, 11):  # noqa: UP036
        fail("Python 3.11 以降が必要です。", "Python 3.11 or later is needed.")
    tag = f"{sysconfig.get_platform()}-cp{sys.version_info[0]}{sys.version_info[1]}"
    check(files_of_the_program(tag))
    # Nothing is written beside the program, and nothing that is installed on this machine is used.
    sys.dont_write_bytecode = True
    kept = [path for path in sys.path if path not in ("", HERE) and "-packages" not in path]
    sys.path[:] = [os.path.join(HERE, "program", tag), *kept]
    from jbackupd.laptop.run import main as run

    sys.exit(run(HERE, sys.argv[1:]))


if __name__ == "__main__":
    main()
