"""Letting one other user at what a restore brought: files are given to him, the way to them is opened for him alone.

The folders on the way belong to the service and stay closed to everybody else: an access list lets this user pass
through, not look into them; where there are none, the folder's group becomes his.

Source: acl(5); the layout of an access list in an attribute, include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import struct

from jbackupd.model.errors import NotFoundError, StorageError

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_PASS = 1
_NOBODY = 0xFFFF_FFFF
_ENTRY = struct.Struct("<HHI")


def account(user: str) -> pwd.struct_passwd:
    """Return a user of this machine.

    Raises:
        NotFoundError: There is none of that name.
    """
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise NotFoundError(
            "there is no user {user} here",
            "install the server's package, which makes him, or name another in the step", user=user,
        ) from error


def give(user: str, folder: str) -> None:
    """Give a folder and all that lies in it to a user; what is his already is left alone. As root only.

    Raises:
        NotFoundError: There is no such user.
        StorageError: The file system does not let us.
    """
    owner = account(user)
    try:
        for above, _, names in os.walk(folder):
            for path in (above, *(os.path.join(above, name) for name in names)):
                if os.lstat(path).st_uid != owner.pw_uid:
                    os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    except OSError as error:
        raise _failed(user, folder, error) from error


def let_in(user: str, *folders: str) -> None:
    """Let a user pass through the folders above some. As root only.

    Raises:
        NotFoundError: There is no such user.
        StorageError: The file system does not let us.
    """
    owner = account(user)
    for folder in folders:
        above = os.path.dirname(os.path.realpath(folder))
        while above != "/":
            try:
                status = os.stat(above)
                if not (status.st_mode & stat.S_IXOTH or status.st_uid == owner.pw_uid):
                    _let_pass(above, status.st_mode, owner)
            except OSError as error:
                raise _failed(user, above, error) from error
            above = os.path.dirname(above)


def _let_pass(folder: str, mode: int, owner: pwd.struct_passwd) -> None:
    entries = _entries(folder, mode)
    entries[_USER, owner.pw_uid] = entries.get((_USER, owner.pw_uid), 0) | _PASS
    entries[_MASK, _NOBODY] = entries.get((_MASK, _NOBODY), mode >> 3 & 7) | _PASS
    packed = b"".join(_ENTRY.pack(tag, rights, who) for (tag, who), rights in sorted(entries.items()))
    try:
        os.setxattr(folder, _ATTRIBUTE, struct.pack("<I", _VERSION) + packed)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        # Our own mounts have no access lists; a folder in them is a copy, whose group nobody else needs.
        os.chown(folder, -1, owner.pw_gid)
        os.chmod(folder, stat.S_IMODE(mode) | stat.S_IXGRP)  # noqa: S103 (one user's group)


def _entries(folder: str, mode: int) -> dict[tuple[int, int], int]:
    """Return a folder's access list: who, and what he may."""
    try:
        data = os.getxattr(folder, _ATTRIBUTE)
    except OSError:
        return {(_OWNER, _NOBODY): mode >> 6 & 7, (_GROUP, _NOBODY): mode >> 3 & 7, (_OTHERS, _NOBODY): mode & 7}
    return {(tag, who): rights for tag, rights, who in _ENTRY.iter_unpack(data[4:])}


def _failed(user: str, folder: str, error: OSError) -> StorageError:
    return StorageError(
        "unable to let {user} use {folder}: {reason}", "run the daemon as this user, or keep its state on ext4 or XFS",
        user=user, folder=folder, reason=os.strerror(error.errno or 0),
    )
