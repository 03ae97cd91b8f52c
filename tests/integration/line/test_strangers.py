"""Who may not come in, and what a stranger with any SSH client gets: nothing."""

from __future__ import annotations

import asyncio
import hashlib

import asyncssh
import pytest

from jbackupd.codec.signing import SiteSigner
from jbackupd.model.errors import IdentityError
from jbackupd.protocol.handshake import Other, Own
from jbackupd.transport.dial import dial
from jbackupd.transport.ssh import LocalSite, PinnedSite, dial_options
from tests.support.twosites import IMARI, run

THIEF = hashlib.sha256(b"thief").digest()


def dial_with(town, port, *, ssh_seed=None, signer=None, pinned=None):
    local = town.saga.local
    own = Own(local.site, signer or town.saga.signer, town.saga.book)
    return dial(LocalSite(own, ssh_seed or local.ssh_seed), pinned or town.kyoto.pinned, "127.0.0.1", port)


def test_a_listener_with_another_host_key_is_refused(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            pinned = PinnedSite(town.kyoto.pinned.other, town.hokkaido.pinned.ssh_public)
            with pytest.raises(IdentityError, match="does not have the key of its card"):
                await dial_with(town, endpoint.port, pinned=pinned)

    run(story())


def test_a_dialler_with_another_client_key_is_refused(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            with pytest.raises(IdentityError, match="does not know this site"):
                await dial_with(town, endpoint.port, ssh_seed=THIEF)
            # Nor may one site's key be used under another site's name.
            with pytest.raises(IdentityError, match="does not know this site"):
                await dial_with(town, endpoint.port, ssh_seed=town.hokkaido.local.ssh_seed)

    run(story())


def test_a_site_that_is_not_configured_is_refused(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            del town.sites[town.saga.id]
            with pytest.raises(IdentityError, match="does not know this site"):
                await dial_with(town, endpoint.port)

    run(story())


def test_a_stolen_ssh_key_without_the_signing_key_is_refused_by_the_listener(town):
    thief = SiteSigner.from_seed(hashlib.sha512(b"thief").digest())

    async def story():
        async with town.listening(town.kyoto) as endpoint:
            with pytest.raises(IdentityError, match="pinned card"):
                await dial_with(town, endpoint.port, signer=thief)

    run(story())


def test_a_listener_without_the_signing_key_is_refused_by_the_dialler(town):
    thief = SiteSigner.from_seed(hashlib.sha512(b"thief").digest())

    async def story():
        async with town.listening(town.kyoto) as endpoint:
            pinned = PinnedSite(Other(town.kyoto.id, thief.public), town.kyoto.pinned.ssh_public)
            with pytest.raises(IdentityError, match="pinned card"):
                await dial_with(town, endpoint.port, pinned=pinned)

    run(story())


@pytest.mark.parametrize(
    "weaker",
    [
        {"kex_algs": ["curve25519-sha256"]},
        {"encryption_algs": ["aes256-ctr", "chacha20-poly1305@openssh.com"]},
        {"server_host_key_algs": ["rsa-sha2-512"]},
        {"compression_algs": ["zlib@openssh.com"]},
    ],
)
def test_other_algorithms_than_ours_are_refused(town, weaker):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            options = dial_options(town.saga.local, town.kyoto.pinned) | weaker
            with pytest.raises(asyncssh.Error):
                await asyncssh.connect("127.0.0.1", endpoint.port, **options)

    run(story())


def test_a_stranger_with_password_or_any_key_gets_no_further_than_the_door(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            key = asyncssh.generate_private_key("ssh-ed25519")
            for username in ("root", "saga", "kyoto", ""):
                with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost)):
                    await asyncssh.connect(
                        "127.0.0.1", endpoint.port, known_hosts=None, config=None, username=username,
                        password="saga", client_keys=[key], agent_path=None,
                    )

    run(story())


def test_even_with_the_right_key_an_ssh_client_gets_no_shell_command_file_or_forwarding(town):
    async def refused(call):
        with pytest.raises((asyncssh.Error, asyncssh.ChannelListenError, OSError)):
            async with asyncio.timeout(5):
                result = await call
                if isinstance(result, asyncssh.SSHCompletedProcess):
                    raise OSError(result.exit_status, "no channel")

    async def story():
        async with town.listening(town.kyoto) as endpoint:
            options = dial_options(town.saga.local, town.kyoto.pinned) | {"encoding": "utf-8"}

            async def each(verb):
                async with asyncssh.connect("127.0.0.1", endpoint.port, **options) as connection:
                    await refused(verb(connection))

            await each(lambda c: c.create_process(None, term_type="xterm"))
            await each(lambda c: c.create_process("id"))
            await each(lambda c: c.create_process(subsystem="sftp"))
            await each(lambda c: c.create_process(subsystem="jbackupd2"))
            await each(lambda c: c.start_sftp_client())
            await each(lambda c: asyncssh.scp((c, "/etc/passwd"), "/nowhere"))
            await each(lambda c: c.open_connection("127.0.0.1", endpoint.port))
            await each(lambda c: c.open_unix_connection("/run/x"))
            await each(lambda c: c.start_server(lambda *_: None, "127.0.0.1", 0))
            await each(lambda c: c.start_unix_server(lambda *_: None, "/tmp/x"))
            await each(lambda c: c.open_tun())
            # And a peer that behaves still gets through.
            async with await dial_with(town, endpoint.port) as link:
                assert await link.heads(IMARI) == []

    run(story())


def test_a_connection_may_open_one_session_and_a_site_eight_links(town):
    async def story():
        async with town.listening(town.kyoto) as endpoint:
            options = dial_options(town.saga.local, town.kyoto.pinned)
            async with asyncssh.connect("127.0.0.1", endpoint.port, **options) as connection:
                await connection.create_session(asyncssh.SSHClientSession, subsystem="jbackupd", encoding=None)
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.create_session(asyncssh.SSHClientSession, subsystem="jbackupd", encoding=None)
                links = [await dial_with(town, endpoint.port) for _ in range(7)]
                with pytest.raises(Exception, match="kyoto"):
                    await dial_with(town, endpoint.port)
                for link in links:
                    await link.close()
        assert endpoint.connections == set()

    run(story())
