"""What podman is told of a container, and where it keeps everything: decided here, done by `podman`."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RUNTIME = "crun"
"""runc cannot leave a container in our own control group."""
FOLDERS = ("store", "run", "state", "runtime", "home", "network", "tmp", "user")
LOG_BYTES_MAX = 16_000_000
PROCESSES_MAX = 32768
"""What podman lowers the limit of processes to. Source: podman 4.3, what strace shows of it."""
ENDED_FIRST = 500
"""Where memory runs out the kernel ends the container, and not the desk beside it; it would inherit the unit's -200."""
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


def command_line(order: Order, image: str, variables: str) -> list[str]:
    """Return podman's arguments.

    Args:
        image: The id of the approved image: a name may have come to mean another one.
        variables: File with `environment`: everybody may read a command line.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = PROCESSES_MAX if processes == resource.RLIM_INFINITY else min(processes, PROCESSES_MAX)
    # In our own control group it is counted as the daemon's, and ends with the unit.
    limit = ["--cgroups=disabled"] if order.memory_bytes is None else [f"--memory={order.memory_bytes}b"]
    more = [] if order.environment_file is None else [f"--env-file={order.environment_file}"]
    return [
        "run", "--detach", "--pull=never", "--name", order.name, "--no-healthcheck", "--sdnotify=ignore",
        # The network of whoever starts it: this host's, or in a drill the drill's, which has no way out.
        "--network=host", f"--oom-score-adj={ENDED_FIRST}", *limit,
        "--log-driver=k8s-file", f"--log-opt=path={order.log}", f"--log-opt=max-size={LOG_BYTES_MAX}b",
        # Without these podman asks for more than whoever has not CAP_SYS_RESOURCE gets.
        f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}",
        *(f"--label={LABEL}.{key}={value}" for key, value in order.labels.items()),
        *(_mount(mount) for mount in order.mounts),
        f"--env-file={variables}", *more, image, *order.command,
    ]


def configuration(folder: str, stores: Sequence[str], *, alone: bool, systemd: bool) -> dict[str, str]:
    """Return podman's configuration files: every place lies in a folder of ours, nothing of the host's is used.

    Args:
        stores: Further stores of images, which podman only reads.
        alone: No other user's files can be made: all of an image belong to us.
        systemd: It makes the control groups, where one is needed.
    """
    here = {name: json.dumps(os.path.join(folder, name)) for name in FOLDERS}
    engine = (
        f'[engine]\nruntime = "{RUNTIME}"\ncgroup_manager = "{"systemd" if systemd else "cgroupfs"}"\n'
        # By default locks lie in /dev/shm, one file for all storages of a user.
        f'events_logger = "none"\nlock_type = "file"\ntmp_dir = {here["state"]}\n'
        f"[network]\nnetwork_config_dir = {here['network']}\n"
    )
    storage = (
        f'[storage]\ndriver = "overlay"\ngraphroot = {here["store"]}\nrootless_storage_path = {here["store"]}\n'
        f"runroot = {here['run']}\n[storage.options]\nadditionalimagestores = {json.dumps(list(stores))}\n"
        # Else a mount of the folder on itself would stay.
        f'[storage.options.overlay]\nskip_mount_home = "true"\nignore_chown_errors = "{"true" if alone else "false"}"\n'
    )
    return {"containers.conf": engine, "storage.conf": storage}


def _mount(mount: BindMount) -> str:
    read_only = "" if mount.writable else ",ro=true"
    return f"--mount=type=bind,source={mount.source},target={mount.at}{read_only}"
