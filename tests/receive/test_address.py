from __future__ import annotations

import pytest

from proxy.receive.address import TrustedProxies
from tests.receive.conftest import OpenDoor, track
from tests.support import make_config

TRUSTED = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("198.51.100.1", [], "198.51.100.1", id="direct"),
        pytest.param("198.51.100.1", ["203.0.113.9"], "198.51.100.1", id="untrusted, so a lie"),
        pytest.param("10.1.1.1", ["203.0.113.9"], "203.0.113.9", id="one proxy"),
        pytest.param("10.1.1.1", [], "10.1.1.1", id="a proxy that says nothing"),
        pytest.param("10.1.1.1", ["203.0.113.9, 192.0.2.7"], "203.0.113.9", id="two proxies"),
        pytest.param("10.1.1.1", ["203.0.113.9", "192.0.2.7"], "203.0.113.9", id="two headers"),
        pytest.param("10.1.1.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9", id="client's own lie"),
        pytest.param("10.1.1.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2", id="all of them trusted"),
        pytest.param("10.1.1.1", ["203.0.113.9, unknown"], "10.1.1.1", id="not an address"),
        pytest.param("10.1.1.1", [""], "10.1.1.1", id="empty"),
        pytest.param("10.1.1.1", ["2001:db8:9::1"], "2001:db8:9::1", id="IPv6"),
        pytest.param("2001:db8:1::1", ["203.0.113.9"], "203.0.113.9", id="an IPv6 proxy"),
        # Azure's Application Gateway: "a comma-separated list of IP:port".
        pytest.param("10.1.1.1", ["203.0.113.9:50123"], "203.0.113.9", id="with a port"),
        pytest.param("10.1.1.1", ["[2001:db8:9::1]:443"], "2001:db8:9::1", id="IPv6 with a port"),
        pytest.param(None, ["203.0.113.9"], None, id="no peer (Unix socket)"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_vouches_beyond(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    assert TRUSTED.client(peer, forwarded) == client


@pytest.mark.parametrize(("trusted", "kept"), [([], "127.0.0.1"), (["127.0.0.0/8"], "203.0.113.9")])
async def test_the_address_kept_follows_trusted_proxies(
    open_door: OpenDoor, trusted: list[str], kept: str
) -> None:
    door = await open_door(make_config(server={"trusted_proxies": trusted}))
    await door.post("/v1/track", track(), X_Forwarded_For="203.0.113.9")
    assert [facts.ip for facts in door.facts()] == [kept]
