"""Reading a whole package again, with this site's key of it: the proof that a stick would open. Blocks."""

from __future__ import annotations

import os

from jbackupd.codec.signing import SiteVerifier
from jbackupd.format.package import (
    KEYS,
    MANIFEST,
    Manifest,
    data_name,
    decode_content,
    decode_keys,
    decode_manifest,
    open_data,
)
from jbackupd.model.errors import DamageError, NotFoundError, RefusedError
from jbackupd.service.packageprogram import fact_of
from jbackupd.service.packages import Known


def verify_package(folder: str, known: Known, verifier: SiteVerifier) -> Manifest:
    """Check every file of a package, its signature and its data; return what it is.

    Raises:
        NotFoundError: There is no package.
        RefusedError: It is another package.
        IdentityError: This site did not sign it.
        DamageError, FormatError, KeyringError: A file is missing, damaged, or does not open.
    """
    manifest = decode_manifest(_read(folder, MANIFEST), verifier)
    if manifest.id != known.id.hex():
        raise RefusedError("{folder} holds another package", "name the right folder", folder=folder)
    for name, fact in sorted(manifest.files.items()):
        path = os.path.join(folder, *name.split("/"))
        if not os.path.isfile(path) or fact_of(path) != fact:
            raise DamageError("the package's file {path} is damaged or missing", "write the package again", path=name)
    if decode_keys(_read(folder, KEYS)) != known.keys:
        raise DamageError("the package's file {path} is damaged or missing", "write the package again", path=KEYS)
    decode_content(open_data(known.key, known.id, manifest.serial, _read(folder, data_name(manifest.serial))))
    return manifest


def _read(folder: str, name: str) -> bytes:
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise NotFoundError(
            "there is no whole package in {folder}: {name} is missing", "write it there", folder=folder, name=name
        ) from error
