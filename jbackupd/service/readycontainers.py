"""Would a container run at this host? podman, the image, the file of variables; nothing is started."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator

from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import to_translate
from jbackupd.service.deeds.containers import private_file
from jbackupd.service.deeds.podman import Podman, check_programs
from jbackupd.service.finding import Finding, Grade, bad, good, note
from jbackupd.settings.programs import Container


def container_findings(step: str, container: Container) -> Iterator[Finding]:
    """Look at what a step's container needs of this host. Blocks."""
    try:
        check_programs()
        if container.environment_file is not None:
            private_file(container.environment_file)
        if container.image is not None:
            yield from _image(step, container.image, container)
        else:
            yield good(step, to_translate("podman is here; the image comes with the point"))
    except JbackupdError as error:
        yield Finding(Grade.BAD, step, error.message, error.fields)
    if container.memory is not None and os.geteuid() != 0:
        yield note(step, to_translate("only root can hold a container to its memory; here it has no limit"))


def _image(step: str, image: str, container: Container) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="jbackupd-look-") as folder:
        found = Podman(posixpath.join(folder, "podman")).look(image, container.store)
    if found != container.sha256:
        yield bad(step, to_translate("the image {image} is not the one that was approved: its id is {found}"),
                  image=image, found=found)
    else:
        yield good(step, to_translate("{image} is the image that was approved"), image=image)
