"""Which client the settings ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Delivery
from proxy.deliver.curl import CurlTransport
from proxy.deliver.transport import AiohttpTransport
from proxy.deliver.transports import make_transport
from proxy.errors import ConfigError
from tests.deliver.servers import OK, Server, listening, send
from tests.deliver.test_transport import post
from tests.deliver.test_transport_ways import AUTHORITY, tls


@pytest.mark.parametrize(
    ("settings", "class_"),
    [
        (Delivery(), AiohttpTransport),
        (Delivery(transport="aiohttp"), AiohttpTransport),
        (Delivery(transport="curl"), CurlTransport),
    ],
)
async def test_the_one_that_is_named(tmp_path: Path, settings: Delivery, class_: type) -> None:
    transport = make_transport(settings, tmp_path)
    assert type(transport) is class_
    await transport.close()


@pytest.mark.parametrize("transport", ["aiohttp", "curl"])
async def test_authorities_are_looked_for_beside_the_config(tmp_path: Path, transport: str) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    made = make_transport(Delivery(transport=transport, ca_file="ca.pem"), tmp_path)  # type: ignore[arg-type]
    server = Server(OK)
    async with listening(server.serve, tls("127.0.0.1")) as port:
        assert (await send(made, post(f"https://127.0.0.1:{port}/"))).status == 200
    await made.close()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_authorities_is_refused_at_the_start(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        make_transport(Delivery(ca_file="ca.pem"), tmp_path)
    (problem,) = caught.value.problems
    assert problem.key == "delivery.ca_file"
    assert "ca.pem cannot be used" in problem.what
