"""The address a request came from, through proxies that are trusted and no others."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from proxy.translate import is_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED: Final = 256  # a proxy that is trusted is met in every request

_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:]+))(?::\d+)?", re.ASCII)


class TrustedProxies:
    """Networks whose X-Forwarded-For is believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[Network] = [
            ipaddress.ip_network(network, strict=False) for network in networks
        ]
        self._within = lru_cache(maxsize=_REMEMBERED)(self._look)

    def client(self, peer: str | None, forwarded_for: Sequence[str]) -> str | None:
        """The last address, seen from here, that no trusted proxy vouches beyond.

        `forwarded_for` are the X-Forwarded-For headers in their order.
        """
        hops = [hop.strip() for header in forwarded_for for hop in header.split(",")]
        address = peer
        while address is not None and self.trusts(address) and hops:
            hop = _without_port(hops.pop())
            if not is_address(hop):
                break
            address = hop
        return address

    def trusts(self, address: str | None) -> bool:
        """Whether an address is one of a trusted proxy."""
        return bool(self._networks) and self._within(address)

    def _look(self, address: str | None) -> bool:
        try:
            parsed = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _without_port(hop: str) -> str:
    """Azure's Application Gateway writes "address:port", an IPv6 address in brackets."""
    match = _WITH_PORT.fullmatch(hop)
    return (match[1] or match[2]) if match else hop
