"""What the types of config.toml cannot say: values that do not go together, and parts of the
contract that do not stand yet.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.config import Config, Delivery, Postbacks, SourceConfig
from proxy.errors import Problem

_IN_A_PATH: Final = re.compile(r"[\w-][\w.~-]*", re.ASCII)


def find_problems(config: Config, file: str) -> list[Problem]:
    """Everything that is wrong with the values of a config, each with its key."""
    problems: list[Problem] = []

    def problem(key: str, what: str, mend: str) -> None:
        problems.append(Problem(file, key, what, mend))

    for key, url in (
        ("kochava.track_url", config.kochava.track_url),
        ("kochava.identity_link_url", config.kochava.identity_link_url),
        ("segment.api_url", config.segment.api_url),
        ("server.public_url", config.server.public_url or "https://any.host"),
    ):
        if not _is_url(url):
            problem(key, f"{url!r} is not a URL", "begin it with https:// (or http://) and a host")
    if config.server.public_url.rstrip("/").endswith("/v1"):
        problem("server.public_url", "ends in /v1", "leave /v1 out: the paths of the API follow")
    if bool(config.server.tls_certificate) != bool(config.server.tls_key):
        missing = "tls_key" if config.server.tls_certificate else "tls_certificate"
        problem(f"server.{missing}", "is empty while its twin is set", "TLS needs both files")
    delivery = config.delivery
    if delivery.retry_base_seconds > delivery.retry_max_seconds:
        problem(
            "delivery.retry_base_seconds",
            "is greater than delivery.retry_max_seconds",
            "the first wait cannot be longer than the longest",
        )
    if config.delivery.live_share + config.delivery.bulk_share > 1:
        problem(
            "delivery.bulk_share",
            "and delivery.live_share are more than 1 together",
            "lower one of them: they are parts of the same whole",
        )
    for index, network in enumerate(config.server.trusted_proxies):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            mend = 'write an address or a network, such as "10.0.0.0/8"'
            problem(f"server.trusted_proxies[{index}]", f"{network!r} is neither", mend)
    _client(delivery, problem)
    _postbacks(config.postbacks, problem)
    _not_yet(config, problem)
    _sources(config.sources, problem)
    return problems


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, a port that is no number
        return False


def _client(delivery: Delivery, problem: Any) -> None:
    """The HTTP client, which may be one that has to be installed first."""
    if delivery.transport == "curl":
        try:
            importlib.import_module("pycurl")  # which also fails if its libcurl is another's
        except ImportError as error:
            mend = "pip install 'kochava-proxy[fast]', or write \"aiohttp\""
            problem("delivery.transport", f"needs pycurl: {error}", mend)
    if delivery.proxy and not (_is_url(delivery.proxy) and delivery.proxy.startswith("http:")):
        # Not repeated: it may hold a password.
        mend = 'write "http://HOST:PORT"; what goes through it to https is encrypted all the same'
        problem("delivery.proxy", "is not the URL of an HTTP proxy", mend)


def _postbacks(postbacks: Postbacks, problem: Any) -> None:
    if postbacks.user_hold_seconds > postbacks.hold_seconds:
        problem(
            "postbacks.user_hold_seconds",
            "is greater than postbacks.hold_seconds",
            "the wait for a user is a part of the whole wait",
        )
    given: dict[str, str] = {}
    for name, spellings in postbacks.parameters.items():
        for spelling in (spellings,) if isinstance(spellings, str) else spellings:
            first = given.setdefault(spelling, name)
            if first != name:
                what = f"{spelling!r} is given to {first} already"
                mend = "a parameter means one thing: take it out of one of them"
                problem(f"postbacks.parameters.{name}", what, mend)


def _not_yet(config: Config, problem: Any) -> None:
    """Parts of the file that this version does not stand behind: refused, never ignored."""
    later = {
        "spool.backend": (config.spool.backend != "sqlite", 'write "sqlite"'),
        "console.token": (
            bool(config.console.token),
            "leave it empty: there is no page to protect yet",
        ),
    }
    for key, (used, mend) in later.items():
        if used:
            problem(key, "is not available in this version", mend)


def _unique(key: str, values: list[tuple[str, ...]], problem: Any) -> None:
    """That no two sources can be taken for each other; "" is nobody's."""
    seen: dict[str, int] = {}
    for index, own in enumerate(values):
        for value in filter(None, own):
            first = seen.setdefault(value, index)
            if first != index:
                what = f"is the same as sources[{first}].{key}"
                problem(f"sources[{index}].{key}", what, "give each source its own")


def _sources(sources: tuple[SourceConfig, ...], problem: Any) -> None:
    if not sources:
        problem("sources", "there is no source", "add a [[sources]] table with name, write_key "
                "and kochava_app_id")  # fmt: skip
    _unique("name", [(source.name,) for source in sources], problem)
    _unique("write_key", [source.write_keys for source in sources], problem)
    _unique("webhook_token", [(source.webhook_token,) for source in sources], problem)
    _unique("postback_token", [(source.postback_token,) for source in sources], problem)
    for index, source in enumerate(sources):
        place = f"sources[{index}]"
        if not source.write_keys:
            problem(f"{place}.write_key", "is an empty list", "write one key, or a list of keys")
        if any(key != key.strip() or ":" in key for key in source.write_keys):
            mend = "write the key alone: HTTP's Basic authentication cannot carry these"
            problem(f"{place}.write_key", "has a colon, or space around it", mend)
        for key in ("webhook_token", "postback_token"):
            token = getattr(source, key)
            if token and not _IN_A_PATH.fullmatch(token):
                mend = "it is part of a URL: write letters and digits, as from openssl rand -hex 24"
                problem(f"{place}.{key}", "has other characters than a path may have", mend)
        if source.webhook_secrets and not source.webhook_token:
            mend = "the token is part of the webhook's URL; without it no webhook is taken"
            problem(f"{place}.webhook_token", "is empty while webhook_secret is set", mend)
        if source.postback_token and not source.segment_write_key:
            mend = "write the key of the Segment source that postbacks are sent to"
            problem(f"{place}.segment_write_key", "is empty while postback_token is set", mend)
        if bool(source.kochava_api_key) != bool(source.kochava_secret):
            missing = "kochava_secret" if source.kochava_api_key else "kochava_api_key"
            mend = "signing needs both; without both nothing is signed"
            problem(f"{place}.{missing}", "is empty while its twin is set", mend)
        app_ids = source.kochava_app_id
        if isinstance(app_ids, str):
            app_ids = {"": app_ids}
        elif not app_ids or set(app_ids) - {"ios", "android"}:
            mend = 'write { ios = "...", android = "..." } or one string for both'
            problem(f"{place}.kochava_app_id", "may name ios and android, nothing else", mend)
        for platform, app_id in app_ids.items():
            if not app_id:
                key = f"{place}.kochava_app_id" + (f".{platform}" if platform else "")
                problem(key, "is empty", "write the App GUID from Kochava's app settings")
