"""The listening socket on both event loops: `run` uses uvloop, other programs asyncio's own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives import serialization

from proxy.errors import ConfigError
from proxy.receive.listener import Listener
from tests.receive.sockets import LIVE, Served, Streams, rest_of, serving, status_of, statuses
from tests.support import make_config

Run = Callable[[Coroutine[Any, Any, None]], None]
TLS = {"tls_certificate": "proxy.pem", "tls_key": "proxy.key"}


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    chosen: Run = request.param
    return chosen


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client(authority: trustme.CA) -> ssl.SSLContext:
    return trusting(authority)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def certify(authority: trustme.CA, folder: Path) -> bytes:
    """Puts a new certificate and its key into the folder; the certificate as it is shown."""
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "proxy.key")
    (folder / "proxy.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def shown(served: Served, client: ssl.SSLContext) -> bytes:
    """Which certificate a new connection is shown."""
    _, writer = await served.connect(client)
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


class TestConnections:
    def test_beyond_the_limit_of_an_address_a_connection_is_closed_until_one_ends(
        self, run: Run, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            async with serving(tmp_path, {"max_connections_per_address": 3}) as served:
                held = [await served.connect() for _ in range(3)]
                assert [await status_of(each) for each in held] == [200] * 3
                fourth = await served.connect()
                assert await rest_of(fourth) == b""
                fourth[1].close()
                assert [await status_of(each) for each in held] == [200] * 3
                held[1][1].close()
                assert await gets_in(served) == 200

        run(scenario())

    def test_one_address_takes_nothing_from_another(self, run: Run, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with serving(tmp_path, {"max_connections_per_address": 1}) as served:
                held = await served.connect()
                assert await status_of(held) == 200
                other = await served.connect(local="127.0.0.2")
                assert await status_of(other) == 200
                assert await status_of(await served.connect()) is None

        run(scenario())

    @pytest.mark.parametrize(
        "server",
        [
            {"max_connections_per_address": 0},
            {"max_connections_per_address": 1, "trusted_proxies": ["127.0.0.0/8"]},
        ],
        ids=["0 is no limit", "a trusted proxy has none"],
    )
    def test_without_a_limit_all_are_served(
        self, run: Run, tmp_path: Path, server: dict[str, Any]
    ) -> None:
        async def scenario() -> None:
            async with serving(tmp_path, server) as served:
                held = [await served.connect() for _ in range(20)]
                assert [await status_of(each) for each in held] == [200] * 20

        run(scenario())

    def test_connections_that_break_off_do_not_count_for_ever(
        self, run: Run, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            async with serving(tmp_path, {"max_connections_per_address": 3}) as served:
                for _ in range(20):
                    for sent in (b"", LIVE, LIVE[:20], b"\0\r\n\r\n"):
                        _, writer = await served.connect()
                        writer.write(sent)
                        writer.transport.abort()
                held: list[Streams] = []
                for _ in range(3):
                    assert await gets_in(served, held) == 200
                assert await rest_of(await served.connect()) == b""

        run(scenario())

    def test_the_limit_holds_with_tls(
        self, run: Run, tmp_path: Path, authority: trustme.CA, client: ssl.SSLContext
    ) -> None:
        certify(authority, tmp_path)

        async def scenario() -> None:
            async with serving(tmp_path, {"max_connections_per_address": 1, **TLS}) as served:
                held = await served.connect(client)
                assert await status_of(held) == 200
                second = await served.connect(client)
                assert await status_of(second) is None
                assert await status_of(held) == 200

        run(scenario())


async def gets_in(served: Served, held: list[Streams] | None = None) -> int | None:
    """The status once a connection is admitted: the server may hear late that others ended."""
    for _ in range(1_000):
        streams = await served.connect()
        status = await status_of(streams)
        if status is not None:
            if held is not None:
                held.append(streams)
            return status
        streams[1].close()
    return None


class TestCertificates:
    def test_https_is_served(
        self, run: Run, tmp_path: Path, authority: trustme.CA, client: ssl.SSLContext
    ) -> None:
        certify(authority, tmp_path)

        async def scenario() -> None:
            async with serving(tmp_path, TLS) as served:
                streams = await served.connect(client)
                assert await status_of(streams) == 200
                assert streams[1].get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")

        run(scenario())

    def test_a_new_certificate_is_for_connections_to_come(
        self, run: Run, tmp_path: Path, authority: trustme.CA, client: ssl.SSLContext
    ) -> None:
        first = certify(authority, tmp_path)

        async def scenario() -> None:
            async with serving(tmp_path, TLS) as served:
                held = await served.connect(client)
                assert await shown(served, client) == first
                second = certify(authority, tmp_path)
                assert await shown(served, client) == first
                served.listener.load_certificate()
                assert await shown(served, client) == second != first
                assert await status_of(held) == 200

        run(scenario())

    @pytest.mark.parametrize("broken", ["missing", "other key", "garbage", "key garbage"])
    def test_what_cannot_be_used_leaves_the_old_in_use(
        self, run: Run, tmp_path: Path, authority: trustme.CA, client: ssl.SSLContext, broken: str
    ) -> None:
        first = certify(authority, tmp_path)

        async def scenario() -> None:
            async with serving(tmp_path, TLS) as served:
                certify(authority, tmp_path)  # so that half of a pair would show
                spoil(tmp_path, broken, authority)
                with pytest.raises(ConfigError):
                    served.listener.load_certificate()
                assert await shown(served, client) == first
                assert await status_of(await served.connect(client)) == 200

        run(scenario())

    def test_plain_http_gets_no_answer_and_harms_nobody(
        self, run: Run, tmp_path: Path, authority: trustme.CA, client: ssl.SSLContext
    ) -> None:
        certify(authority, tmp_path)

        async def scenario() -> None:
            async with serving(tmp_path, TLS) as served:
                for _ in range(5):
                    assert statuses(await served.exchange(LIVE)) == []
                assert await status_of(await served.connect(client)) == 200

        run(scenario())


BROKEN = [
    "missing",
    "missing key",
    "other key",
    "garbage",
    "key garbage",
    "encrypted key",
    "folder",
]


def spoil(folder: Path, how: str, authority: trustme.CA) -> None:
    """Makes what `certify` wrote unusable."""
    certificate, key = folder / "proxy.pem", folder / "proxy.key"
    match how:
        case "missing":
            certificate.unlink()
        case "missing key":
            key.unlink()
        case "other key":
            key.write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
        case "garbage":
            certificate.write_bytes(b"\0\xff" * 500)
        case "key garbage":
            key.write_text("no key")
        case "encrypted key":
            private = serialization.load_pem_private_key(key.read_bytes(), None)
            key.write_bytes(
                private.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"hush"),
                )
            )
        case "folder":
            certificate.unlink()
            certificate.mkdir()


@pytest.mark.parametrize("how", BROKEN)
def test_a_certificate_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, authority: trustme.CA, how: str
) -> None:
    certify(authority, tmp_path)
    spoil(tmp_path, how, authority)
    with pytest.raises(ConfigError) as caught:
        Listener(make_config(server=TLS).server, tmp_path)
    (problem,) = caught.value.problems
    assert problem.key == "server.tls_certificate"
    assert problem.what
    assert "unencrypted" in problem.mend
