"""What an operator lets run for a step: a program, or a container; only the one that people have approved."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from jbackupd.model.errors import UsageError
from jbackupd.model.units import parse_size
from jbackupd.settings.problem import WrongError
from jbackupd.settings.schema import Many, OfficerName, Table, Text


def _whole(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise WrongError("is not a whole path", "begin it with /: the daemon reads it, wherever the plan lies")
    return value


def _plain(value: str) -> str:
    """Accept a path that podman takes apart rightly: it parts mounts by commas."""
    if any(sign in value for sign in ',"\0'):
        raise WrongError("cannot hold a comma or a quotation mark")
    return value


def _own(value: str) -> str:
    if any(value == top or value.startswith(f"{top}/") for top in ("/proc", "/sys", "/dev")) or ".." in value:
        raise WrongError("is a folder that a container has of its own", "mount it elsewhere")
    return value


def _memory(value: str) -> str:
    try:
        size = parse_size(value)
    except UsageError as error:
        raise WrongError.of(error) from error
    if size < MEMORY_BYTES_MIN:
        raise WrongError("is too little for any container", "write at least 16MiB")
    return value


MEMORY_BYTES_MIN = 16 << 20
WholePath = Annotated[str, AfterValidator(_whole)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Hex SHA-256, as `sha256sum` writes it."""
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
OneLine = Annotated[str, Field(pattern=r"^[^\n\r\x00]*$")]


class Script(Table):
    """A program of the operator's: it runs only as long as it is the one that was approved."""

    script: WholePath = Field(description="Whole path of the program")
    sha256: Digest = Field(description="Its SHA-256, when it was approved")
    arguments: Many[Text] = Field(default=(), description="What it is called with")


class ContainerMount(Table):
    """[[step.container.mount]]: a restored folder or file, inside of the container."""

    data: OfficerName = Field(description="The restore or mount step that brings it")
    path: Annotated[Text, AfterValidator(_plain)] = Field(default=".", description="The path in the point")
    at: Annotated[WholePath, AfterValidator(_plain), AfterValidator(_own)] = Field(
        description="Whole path in the container"
    )
    writable: bool = Field(default=False, description="Whether the container may change what was restored")


class Container(Table):
    """[step.container]: a container that podman runs as long as the run is open."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._:/-]{0,199}$")] | None = Field(
        default=None, description="Name of an image that was loaded here in peace time"
    )
    archive: Text | None = Field(
        default=None, description="Path of the image in the point of the step's `data`, as `podman save` wrote it"
    )
    sha256: Digest | None = Field(default=None, description="The image's id, when it was approved")
    store: WholePath = Field(default="/var/lib/containers/storage", description="Where podman keeps this host's images")
    command: Many[Text] = Field(default=(), description="What is run in it instead of the image's own command")
    mounts: Many[ContainerMount] = Field(default=(), alias="mount", description="Restored folders that it sees")
    environment: dict[VariableName, OneLine] = Field(
        default_factory=dict, description="Its variables; no secrets, the plan is printed"
    )
    environment_file: WholePath | None = Field(
        default=None, description="File with more variables, NAME=VALUE on lines, mode 0600: secrets stand here"
    )
    memory: Annotated[str, AfterValidator(_memory)] | None = Field(
        default=None, description="The most memory that it gets; what takes more is ended"
    )
