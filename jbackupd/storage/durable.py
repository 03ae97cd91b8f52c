"""Durable writes: temporary file, sync, rename, sync of the folder. The only way to commit a file.

And destroying one: overwritten in place, synced, removed, sync of the folder.
"""

from __future__ import annotations

import contextlib
import posixpath

from jbackupd.model.errors import JbackupdError
from jbackupd.storage.files import Files


def write_durably(files: Files, path: str, data: bytes, *, temporary: str) -> None:
    """Put a whole file under a name; when this returns, file and name survive a power cut.

    A crash before that leaves the old content of the name, or nothing, never a part.
    May be called twice with the same arguments.

    Args:
        files: Where.
        path: The final name; an existing file is replaced.
        data: The whole content.
        temporary: A name on the same file system that nobody else uses; replaced if it is left over.

    Raises:
        NoSpaceError: The disk is full; the temporary file was removed.
        StorageError: The file system failed; the caller must not count the file as written.
    """
    if files.exists(temporary):
        files.remove(temporary)
    handle = files.create(temporary)
    try:
        handle.write(data)
        handle.sync()
        handle.close()
        rename_durably(files, temporary, path)
    except JbackupdError:
        with contextlib.suppress(JbackupdError):
            handle.close()
        with contextlib.suppress(JbackupdError):
            files.remove(temporary)
        raise


def rename_durably(files: Files, source: str, target: str) -> None:
    """Move a file whose bytes are already synced to its final name, and make the name durable.

    The source's folder is not synced: a temporary name that comes back after a power cut is
    removed at the next start.
    """
    files.rename(source, target)
    files.sync_folder(posixpath.dirname(target))


def destroy_durably(files: Files, path: str) -> None:
    """Overwrite a file's bytes and remove it; when this returns, both survive a power cut. Harmless if it is gone.

    On a medium that writes elsewhere what is written again (SSDs, copy-on-write file systems, snapshots) the old
    bytes may stay for a while where no file names them.
    """
    if files.exists(path):
        files.overwrite(path)
        files.remove(path)
    files.sync_folder(posixpath.dirname(path))
