"""One container under podman, with a storage and a configuration of its own; nothing of the host's podman is changed.

    FOLDER/containers.conf, storage.conf     podman's configuration; it reads no other
    FOLDER/boot                              in which boot of the machine that was; written last
    FOLDER/environment                       the container's variables
    FOLDER/store                             images, and the container's own layer
    FOLDER/run, state, runtime, home, network, tmp, user

The host's images are read through podman's additional image store, which it never writes. No image comes from a
registry. A container's parent is conmon, which survives us: `remove` ends what an earlier process has left, by the
folder alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError, TryLaterError
from jbackupd.service.clearing import clear
from jbackupd.service.deeds.containerorder import FOLDERS, RUNTIME, Order, command_line, configuration

END_SECONDS = 10
"""How long a container has to end after its stop signal."""
ASK_SECONDS = 60.0
START_SECONDS = 120.0
LOAD_SECONDS = 3600.0
LOOK_SECONDS = 0.25
"""How often it is looked whether the step's time is over."""


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs: its first process, as we see it, and the image's id."""

    pid: int
    image: str


def check_programs() -> None:
    """Check that this host can run containers.

    Raises:
        NotFoundError: A program is missing, or a unit of systemd hides what it needs.
    """
    for program in ("podman", RUNTIME):
        if shutil.which(program) is None:
            raise NotFoundError(
                "{program} is not installed here", "apt-get install podman crun", program=program
            )
    _boot()


class Podman:
    """One container; `start` it once, or `remove` what an earlier process has started. All calls block.

    Args:
        folder: Only its own; made by `start`, gone after `remove`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def start(self, order: Order, stopped: threading.Event) -> Started:
        """Start it.

        Args:
            stopped: Ends the loading of an image.

        Raises:
            NotFoundError: podman, or the image, is not there.
            RefusedError: The image is not the one that was approved.
            ScriptError: podman refuses; its words are in the message.
            TryLaterError: `stopped`, or podman hangs.
        """
        check_programs()
        self.remove()
        os.makedirs(self.folder, mode=0o700)
        try:
            self._configure([order.store] if order.image is not None else [])
            self._write("environment", "".join(f"{name}={value}\n" for name, value in order.environment.items()))
            image = self._image(order, stopped)
            command = command_line(order, image, os.path.join(self.folder, "environment"))
            self._podman(command, seconds=START_SECONDS, stopped=stopped)
            pid = int(self._podman(["container", "inspect", "--format", "{{.State.Pid}}", order.name]))
            if pid == 0:
                raise ScriptError(
                    "the container ended at once with {code}", "see its log {log}", code=self.exit_code(order.name),
                    log=order.log,
                )
            return Started(pid, image)
        except BaseException:
            self.remove()
            raise

    def look(self, image: str, store: str) -> str:
        """Return the id of an image of this host; nothing is started, and nothing stays.

        Raises:
            NotFoundError: podman, or the image, is not there.
            ScriptError: podman cannot work here.
        """
        check_programs()
        self.remove()
        os.makedirs(self.folder, mode=0o700)
        try:
            self._configure([store])
            return self._image_id(image)
        finally:
            self.remove()

    def exit_code(self, name: str) -> str:
        """Return what an ended container ended with, and whether memory was the reason."""
        # It waits for conmon's note of the end. Not `podman wait`, which takes 20 s where nobody reaps conmon.
        shown = "{{.State.ExitCode}}{{if .State.OOMKilled}} (out of memory){{end}}"
        return self._podman(["container", "inspect", "--format", shown, name])

    def remove(self) -> None:
        """End it, and remove it with all that it stored; harmless where there is nothing.

        Raises:
            ScriptError, NotFoundError: It could not be ended.
            StorageError: Its folder could not be removed.
        """
        if not os.path.isdir(self.folder):
            return
        # After a new start of the machine nothing runs any more, and its notes are of other processes.
        if _boot_of(self.folder) == _boot():
            self._podman(["rm", "--force", "--all", "--volumes", "--time", str(END_SECONDS)], seconds=START_SECONDS)
            if os.geteuid() != 0:
                self._end_user_namespace()
        clear(self.folder)
        os.rmdir(self.folder)

    def _configure(self, stores: Sequence[str]) -> None:
        for name in FOLDERS:
            os.mkdir(os.path.join(self.folder, name), 0o700)
        texts = configuration(
            self.folder, stores, alone=os.geteuid() != 0 or _is_mapped(), systemd=os.path.isdir("/run/systemd/system")
        )
        for name, text in texts.items():
            self._write(name, text)
        self._write("boot", _boot())

    def _image(self, order: Order, stopped: threading.Event) -> str:
        """Return the id of the image, loaded if it is a file."""
        if order.archive is not None:
            said = self._podman(["load", "--quiet", "--input", order.archive], seconds=LOAD_SECONDS, stopped=stopped)
            name = said.splitlines()[-1].partition(": ")[2].split(",")[0]
        else:
            assert order.image is not None
            name = order.image
        found = self._image_id(name)
        if order.sha256 is not None and found != order.sha256:
            raise RefusedError(
                "the image {image} is not the one that was approved: its id is {found}",
                "if it is right, put this id into the plan and let the plan be approved again", image=name, found=found,
            )
        return found

    def _image_id(self, name: str) -> str:
        """Return an image's id.

        Raises:
            NotFoundError: There is no such image.
        """
        try:
            return self._podman(["image", "inspect", "--format", "{{.Id}}", name]).removeprefix("sha256:")
        except ScriptError as error:
            raise NotFoundError(
                "podman has no image {image} here: {reason}", "load it: 'podman load --input FILE'",
                image=name, reason=error.fields["reason"],
            ) from error

    def _podman(
        self, arguments: Sequence[str], *, seconds: float = ASK_SECONDS, stopped: threading.Event | None = None
    ) -> str:
        """Return what podman says on its standard output."""
        # A user's podman makes its namespace only where it has no rights of its own: the unit's would be in the way.
        plain = [] if os.geteuid() == 0 else ["setpriv", "--inh-caps=-all", "--ambient-caps=-all"]
        command = [*plain, "podman", "--runtime-flag", f"root={os.path.join(self.folder, 'runtime')}", *arguments]
        try:
            # A session of its own: a terminal's Ctrl-C is ours alone.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
                start_new_session=True, env=self._variables(),
            )
        except OSError as error:
            raise NotFoundError("{program} is not installed here", "apt-get install podman crun", program="podman") \
                from error
        out, err = _communicate(process, seconds, stopped)
        if process.returncode != 0:
            raise ScriptError(
                "podman refuses: {reason}", "see docs/operating/recovery.md, 'Containers'",
                reason=_reason(err.decode("utf-8", "replace")),
            )
        return out.decode("utf-8", "replace").strip()

    def _variables(self) -> dict[str, str]:
        """Return podman's own variables: where its configuration is, and nothing of the daemon's."""
        here = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LANG": "C.UTF-8",
            "HOME": os.path.join(here, "home"), "XDG_RUNTIME_DIR": os.path.join(here, "user"),
            "TMPDIR": os.path.join(here, "tmp"), "CONTAINERS_CONF": os.path.join(here, "containers.conf"),
            "CONTAINERS_STORAGE_CONF": os.path.join(here, "storage.conf"), **_of_a_user(),
        }

    def _end_user_namespace(self) -> None:
        """Remove what only a user's namespace may remove, and end the process by which podman keeps it."""
        with contextlib.suppress(ScriptError):
            self._podman(["rmi", "--all", "--force"])
        note = os.path.join(self.folder, "user", "libpod", "tmp", "pause.pid")
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError), open(note, "rb") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    def _write(self, name: str, text: str) -> None:
        descriptor = os.open(os.path.join(self.folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def _communicate(
    process: subprocess.Popen[bytes], seconds: float, stopped: threading.Event | None
) -> tuple[bytes, bytes]:
    until = time.monotonic() + seconds
    while True:
        try:
            return process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() < until and not (stopped is not None and stopped.is_set()):
                continue
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TryLaterError("podman took too long and was ended", "try it by hand, as the same user") from None


def _reason(text: str) -> str:
    """Return why podman failed: its last words, without its warnings."""
    lines = [line for line in text.splitlines() if not line.startswith("time=")]
    return " ".join(lines or text.splitlines()).removeprefix("Error: ").strip()[-500:]


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError as error:
        raise NotFoundError(
            "no container runs here: the daemon's unit hides parts of /proc",
            "use the drop-in: docs/operating/recovery.md, 'Under the packaged unit'",
        ) from error


def _boot_of(folder: str) -> str | None:
    """Return the boot in which a folder was configured; None if it was killed before: then nothing ever ran."""
    try:
        with open(os.path.join(folder, "boot"), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _is_mapped() -> bool:
    """Tell whether we are root in a user namespace only: other users' files cannot be made there."""
    return _mapped()[2] != "4294967295"


def _mapped() -> list[str]:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split()


def _of_a_user() -> dict[str, str]:
    """Return what podman must know where a drill's namespace maps one user to root: it is no root's podman."""
    if os.geteuid() != 0 or not _is_mapped():
        return {}
    # As podman's own first process tells its second. Source: containers/storage, pkg/unshare/unshare_linux.go.
    return {"_CONTAINERS_USERNS_CONFIGURED": "done", "_CONTAINERS_ROOTLESS_UID": _mapped()[1]}
