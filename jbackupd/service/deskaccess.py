"""Who may do what at this site's desks, of the settings: roles, and the sign-in service of a municipality."""

from __future__ import annotations

import os

from jbackupd.desk.oidc import Issuer, Provider
from jbackupd.desk.roles import Roles
from jbackupd.model.errors import ConfigError
from jbackupd.model.ids import TenantId
from jbackupd.settings.schema import Settings


def roles_of(settings: Settings) -> Roles:
    """Return the roles of accounts.

    Raises:
        ConfigError: Nobody could supervise.
    """
    return Roles(settings.desk.roles)


def provider_of(settings: Settings, tenant: TenantId) -> Provider | None:
    """Return the way to a municipality's sign-in service; never another one's. None if it has none.

    Raises:
        ConfigError: Its secret cannot be read, or one of its roles is not known.
    """
    found = next((one for one in settings.desk.oidc if one.tenant == tenant), None)
    if found is None:
        return None
    known = {role.name for role in roles_of(settings)}
    for role in found.roles.values():
        if role not in known:
            raise ConfigError(
                "the desk has no role {name!r}", "there are: {roles}", name=role, roles=", ".join(sorted(known))
            )
    return Provider(Issuer(
        found.issuer, found.client_id, _secret(found.secret_file), found.url, found.name, found.claim,
        found.groups_claim, dict(found.roles), found.ca_file,
    ))


def _secret(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            mode, secret = os.fstat(file.fileno()).st_mode, file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "unable to read the secret of the sign-in service in {path}: {reason}",
            "the service user must be able to read the file", path=path,
            reason=getattr(error, "strerror", None) or str(error),
        ) from error
    if mode & 0o077 or not secret:
        raise ConfigError(
            "the secret of the sign-in service in {path} is empty, or others may read it", "chmod 600 {path}", path=path
        )
    return secret
