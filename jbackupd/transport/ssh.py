"""SSH as a pinned, encrypted pipe and nothing else: keys, algorithms, options.

Only here and in channel.py is asyncssh's own vocabulary used. Its defaults read configuration files, agents and
known_hosts, and still offer SHA-1; every one of them is replaced. Two of its private attributes are looked at, in the
last two functions, since it has no public way to the session id and to the backlog of the socket.
"""

from __future__ import annotations

import base64
import socket
from dataclasses import dataclass
from typing import Any

import asyncssh

from jbackupd.model.errors import IdentityError, InvariantError
from jbackupd.model.ids import SiteId
from jbackupd.protocol.handshake import Other, Own

Connection = asyncssh.SSHClientConnection | asyncssh.SSHServerConnection

SUBSYSTEM = "jbackupd"
WINDOW_BYTES = 64 * 1024 * 1024
"""The default of 2 MiB holds a stream to 20 MB/s at 50 ms; 64 MiB fills 1 Gbit/s up to half a second."""
PACKET_BYTES = 256 * 1024
KEEPALIVE_SECONDS = 20
KEEPALIVE_COUNT = 5
"""So a link whose other end is gone is found within two minutes, even when nothing is being asked."""
LOGIN_SECONDS = 30
UNSENT_BYTES = 128 * 1024
"""What the kernel may hold unsent: more would only make answers and pings wait behind bulk data."""

_ALGORITHMS: dict[str, Any] = {
    "kex_algs": ["mlkem768x25519-sha256"],
    "encryption_algs": ["aes256-gcm@openssh.com"],
    # AES-GCM authenticates by itself; the name must still be one that both sides list.
    "mac_algs": ["hmac-sha2-256-etm@openssh.com"],
    "compression_algs": ["none"],
    "signature_algs": ["ssh-ed25519"],
    "public_key_auth": True,
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "gss_kex": False,
    "gss_auth": False,
    "gss_host": None,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
    "agent_forwarding": False,
    "x11_forwarding": False,
    "encoding": None,
    "config": None,
    "window": WINDOW_BYTES,
    "max_pktsize": PACKET_BYTES,
    "rekey_bytes": 1 << 34,
    "rekey_seconds": 3600,
    "login_timeout": LOGIN_SECONDS,
    "keepalive_interval": KEEPALIVE_SECONDS,
    "keepalive_count_max": KEEPALIVE_COUNT,
}
_PKCS8_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""DER of a PKCS#8 Ed25519 private key up to its 32-byte seed. Source: RFC 8410, section 7."""


@dataclass(frozen=True, slots=True)
class LocalSite:
    """This site at the line: what it says of itself, and its SSH key.

    Attributes:
        ssh_seed: 32 bytes, the private Ed25519 key; host key when listening, client key when dialling.
    """

    own: Own
    ssh_seed: bytes

    @property
    def site(self) -> SiteId:
        """The site's id."""
        return self.own.site


@dataclass(frozen=True, slots=True)
class PinnedSite:
    """Another site from its card.

    Attributes:
        ssh_public: 32 bytes, its public Ed25519 key.
    """

    other: Other
    ssh_public: bytes

    @property
    def site(self) -> SiteId:
        """The site's id."""
        return self.other.site


def private_key(seed: bytes) -> asyncssh.SSHKey:
    """Return the SSH key of a 32-byte Ed25519 seed."""
    if len(seed) != 32:
        raise InvariantError("an SSH seed has 32 bytes")
    return asyncssh.import_private_key(_PKCS8_ED25519 + seed)


def public_blob(public: bytes) -> bytes:
    """Return a 32-byte Ed25519 public key as an SSH key blob (RFC 8709, section 4)."""
    if len(public) != 32:
        raise IdentityError("unable to use a site card: its SSH key is not an Ed25519 key")
    return b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", public))


def dial_options(local: LocalSite, peer: PinnedSite) -> dict[str, Any]:
    """Return the options to dial a peer with; nothing is left to asyncssh's defaults that reads the machine."""
    return _ALGORITHMS | {
        "known_hosts": ([_public_key(peer.ssh_public)], [], []),
        "server_host_key_algs": ["ssh-ed25519"],
        "client_keys": [private_key(local.ssh_seed)],
        "client_host_keys": None,
        "client_version": SUBSYSTEM,
        "username": local.site,
        "client_username": local.site,
        "preferred_auth": ["publickey"],
        "disable_trivial_auth": True,
        "agent_path": None,
        "pkcs11_provider": None,
        "send_env": None,
        "env": None,
        "connect_timeout": LOGIN_SECONDS,
    }


def listen_options(local: LocalSite) -> dict[str, Any]:
    """Return the options to listen with."""
    return _ALGORITHMS | {
        "server_host_keys": [private_key(local.ssh_seed)],
        "server_version": SUBSYSTEM,
        "authorized_client_keys": None,
        "allow_pty": False,
        "line_editor": False,
        "allow_scp": False,
        "sftp_factory": None,
        "rdns_lookup": False,
    }


def tune(connection: Connection) -> None:
    """Keep the kernel's queue of unsent bytes short (TCP_NOTSENT_LOWAT)."""
    sock = connection.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def session_id(connection: Connection) -> bytes:
    """Return the SSH session id: the hash of the first key exchange, the same at both ends."""
    found: object = connection._session_id
    if not isinstance(found, bytes) or len(found) < 32:
        raise InvariantError("asyncssh has no session id for us")
    return found


def backlog(connection: Connection) -> int:
    """Return the bytes that wait in this process for the socket; asyncssh itself takes no notice of them."""
    transport = connection._transport
    return 0 if transport is None else transport.get_write_buffer_size()


def _public_key(public: bytes) -> asyncssh.SSHKey:
    return asyncssh.import_public_key(b"ssh-ed25519 " + base64.b64encode(public_blob(public)))
