"""Which HTTP client sends, as the configuration says."""

from __future__ import annotations

import ssl
from pathlib import Path

from proxy.config import Delivery
from proxy.deliver.transport import AiohttpTransport, Transport
from proxy.errors import ConfigError, Problem


def ca_file(settings: Delivery, base: Path) -> str:
    """The path of the file with the authorities to trust, "" if that is the system's affair.

    Raises:
        ConfigError: it cannot be used.

    """
    if not settings.ca_file:
        return ""
    path = base / settings.ca_file
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        what, mend = f"{path} cannot be used: {error}", "name a PEM file of authorities"
        raise ConfigError(Problem("", "delivery.ca_file", what, mend)) from None
    return str(path)


def make_transport(settings: Delivery, base: Path) -> Transport:
    """The one that `settings` name. Relative paths start at `base`.

    Raises:
        ConfigError: the file of authorities cannot be used.

    """
    authorities = ca_file(settings, base)
    given = settings.timeout_seconds, settings.max_concurrency, settings.proxy, authorities
    if settings.transport == "aiohttp":
        return AiohttpTransport(*given)
    # Not before it is asked for: pycurl is optional.
    from proxy.deliver.curl import CurlTransport  # noqa: PLC0415

    return CurlTransport(*given)
