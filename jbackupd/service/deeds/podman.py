"""One container under podman, with a storage and a configuration of its own; nothing of the host's podman is changed.

    FOLDER/order.json         what runs here, and since which boot of the machine
    FOLDER/{containers,storage}.conf
    FOLDER/store              images and the container's own layer
    FOLDER/{run,state,runtime,home,network,tmp}

The host's images are read through podman's additional image store, which it never writes. No image comes from a
registry. A container's parent is conmon, which survives us: `remove` ends what an earlier process has left, by the
folder alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jbackupd.model.errors import NotFoundError, RefusedError, ScriptError, TryLaterError
from jbackupd.service.clearing import clear

RUNTIME = "crun"
"""runc cannot leave a container in our own control group."""
END_SECONDS = 10
"""How long a container has to end after its stop signal."""
ASK_SECONDS = 60.0
START_SECONDS = 120.0
LOAD_SECONDS = 3600.0
LOG_BYTES_MAX = 16_000_000
PROCESSES_MAX = 32768
"""What podman lowers the limit of processes to. Source: podman 4.3, cmd/podman/early_init_linux.go."""
SPARED_LAST = 500
"""Where memory runs out the kernel ends the container, and not the desk, which inherits -200 from the unit."""
LABEL = "jbackupd"


@dataclass(frozen=True, slots=True)
class BindMount:
    """A folder or file of this host inside of the container; both paths are whole."""

    source: str
    at: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run.

    Attributes:
        name: The container's.
        labels: Found again by these: run, plan, step.
        image: Name of an image of this host, or None.
        archive: Where an image lies as a file, else.
        sha256: The image's approved id, or None: whatever the archive holds.
        store: Where podman keeps this host's images.
        command: Instead of the image's own; empty for that.
        environment: Its variables.
        environment_file: File with more, or None.
        memory_bytes: The most that it gets; None: no limit but the host's.
        log: File that takes its output.
    """

    name: str
    labels: Mapping[str, str]
    image: str | None
    archive: str | None
    sha256: str | None
    store: str
    command: Sequence[str]
    mounts: Sequence[BindMount]
    environment: Mapping[str, str]
    environment_file: str | None
    memory_bytes: int | None
    log: str


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs: its first process, as we see it, and the image's id."""

    pid: int
    image: str


def check_programs() -> None:
    """Check that this host can run containers.

    Raises:
        NotFoundError: A program is missing.
    """
    for program in ("podman", RUNTIME):
        if shutil.which(program) is None:
            raise NotFoundError(
                "{program} is not installed here", "apt-get install podman crun", program=program
            )


class Container:
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
            self._configure(order)
            image = self._image(order, stopped)
            self._podman(self._command_line(order, image), seconds=START_SECONDS, stopped=stopped)
            said = self._podman(["container", "inspect", "--format", "{{.State.Pid}}", order.name])
            return Started(int(said), image)
        except BaseException:
            self.remove()
            raise

    def exit_code(self, name: str) -> str:
        """Return what an ended container ended with, and whether memory was the reason; in podman's words."""
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
            self._end_pause()
        clear(self.folder)
        os.rmdir(self.folder)

    def _configure(self, order: Order) -> None:
        here = self.folder
        for name in ("store", "run", "state", "runtime", "home", "network", "tmp", "user"):
            os.mkdir(os.path.join(here, name), 0o700)
        alone = os.geteuid() != 0 or _is_mapped()
        self._write("containers.conf", f"""
[engine]
runtime = "{RUNTIME}"
cgroup_manager = "{"systemd" if os.path.isdir("/run/systemd/system") else "cgroupfs"}"
events_logger = "none"
lock_type = "file"
tmp_dir = {json.dumps(os.path.join(here, "state"))}
[network]
network_config_dir = {json.dumps(os.path.join(here, "network"))}
""")
        also = [order.store] if order.image is not None else []
        self._write("storage.conf", f"""
[storage]
driver = "overlay"
graphroot = {json.dumps(os.path.join(here, "store"))}
rootless_storage_path = {json.dumps(os.path.join(here, "store"))}
runroot = {json.dumps(os.path.join(here, "run"))}
[storage.options]
additionalimagestores = {json.dumps(also)}
[storage.options.overlay]
skip_mount_home = "true"
ignore_chown_errors = "{"true" if alone else "false"}"
""")
        self._write("environment", "".join(f"{name}={value}\n" for name, value in order.environment.items()))
        self._write("order.json", json.dumps({"boot": _boot(), "name": order.name, "labels": dict(order.labels)}))

    def _image(self, order: Order, stopped: threading.Event) -> str:
        """Return the id of the image, loaded if it is a file."""
        if order.archive is not None:
            said = self._podman(["load", "--quiet", "--input", order.archive], seconds=LOAD_SECONDS, stopped=stopped)
            name = said.splitlines()[-1].partition(": ")[2].split(",")[0]
        else:
            assert order.image is not None
            name = order.image
        found = self.image_id(name)
        if order.sha256 is not None and found != order.sha256:
            raise RefusedError(
                "the image {image} is not the one that was approved: its id is {found}",
                "if it is right, put this id into the plan and let the plan be approved again", image=name, found=found,
            )
        return found

    def image_id(self, name: str) -> str:
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
        command = ["podman", "--runtime-flag", f"root={os.path.join(self.folder, 'runtime')}", *arguments]
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

    def _command_line(self, order: Order, image: str) -> list[str]:
        """Return podman's arguments; values of variables are not among them: everybody may read a command line."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        processes = PROCESSES_MAX if processes == resource.RLIM_INFINITY else min(processes, PROCESSES_MAX)
        limit = ["--cgroups=disabled"] if order.memory_bytes is None else [f"--memory={order.memory_bytes}b"]
        variables = [os.path.join(self.folder, "environment"), order.environment_file]
        return [
            "run", "--detach", "--pull=never", "--name", order.name, "--network=host", "--no-healthcheck",
            "--sdnotify=ignore", f"--oom-score-adj={SPARED_LAST}", "--log-driver=k8s-file",
            f"--log-opt=path={order.log}", f"--log-opt=max-size={LOG_BYTES_MAX}b", *limit,
            # Without these podman asks for more than whoever has not CAP_SYS_RESOURCE gets.
            f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}",
            *(f"--label={LABEL}.{key}={value}" for key, value in order.labels.items()),
            *(f"--mount=type=bind,source={mount.source},target={mount.at}{'' if mount.writable else ',ro=true'}"
              for mount in order.mounts),
            *(f"--env-file={file}" for file in variables if file is not None), image, *order.command,
        ]

    def _variables(self) -> dict[str, str]:
        """Return podman's own variables: where its configuration is, and nothing of the daemon's."""
        here = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LANG": "C.UTF-8",
            "HOME": os.path.join(here, "home"), "XDG_RUNTIME_DIR": os.path.join(here, "user"),
            "TMPDIR": os.path.join(here, "tmp"), "CONTAINERS_CONF": os.path.join(here, "containers.conf"),
            "CONTAINERS_STORAGE_CONF": os.path.join(here, "storage.conf"),
        }

    def _end_pause(self) -> None:
        """End the process by which podman keeps a user's namespace."""
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
    waited = 0.0
    while True:
        try:
            return process.communicate(timeout=0.25 if stopped is not None else seconds)
        except subprocess.TimeoutExpired:
            waited += 0.25 if stopped is not None else seconds
            if waited < seconds and stopped is not None and not stopped.is_set():
                continue
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TryLaterError("podman did not end in {seconds} s", seconds=round(waited)) from None


def _reason(text: str) -> str:
    """Return why podman failed: its last words, without its warnings."""
    lines = [line for line in text.splitlines() if not line.startswith("time=")]
    return " ".join(lines or text.splitlines()).removeprefix("Error: ").strip()[-500:]


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _boot_of(folder: str) -> str | None:
    try:
        with open(os.path.join(folder, "order.json"), encoding="utf-8") as file:
            return str(json.load(file)["boot"])
    except (OSError, ValueError, KeyError):
        # It was killed before it had begun.
        return None


def _is_mapped() -> bool:
    """Tell whether we are root in a user namespace only: other users' files cannot be made there."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]
