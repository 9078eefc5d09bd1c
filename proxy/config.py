"""config.toml as Structs. Their defaults are the product's; the shipped file spells them out, and
a test holds the two together. docs/configuration.md explains every key.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from proxy.errors import Problem
from proxy.segment import Source

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: frozen, and no key that is not a field."""

    def __repr__(self) -> str:
        """Without its values: a config holds secrets, and reprs end up in logs."""
        return f"{type(self).__name__}(...)"


class Server(Section, frozen=True):
    host: Name = "127.0.0.1"
    port: Port = 8080
    workers: int = 1
    trusted_proxies: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""


class Spool(Section, frozen=True):
    backend: Literal["sqlite", "nats"] = "sqlite"
    path: Name = "data/spool.db"
    url: str = ""
    replicas: Count = 1


class Kochava(Section, frozen=True):
    track_url: Name = "https://control.kochava.com/track/json"
    identity_link_url: Name = "https://control.kochava.com/v1/cpi/identityLink.php"
    encode_user_agent: bool = False


class Segment(Section, frozen=True):
    api_url: Name = "https://api.segment.io/v1"


class Delivery(Section, frozen=True):
    timeout_seconds: Positive = 10
    max_concurrency: Count = 200
    retry_base_seconds: Positive = 1.0
    retry_max_seconds: Positive = 300
    retry_horizon_hours: Positive = 24
    dedup_window_hours: NotNegative = 24
    transport: Literal["aiohttp", "curl"] = "aiohttp"


class PluginSettings(Section, frozen=True):
    directory: Name = "plugins.d"
    entry_points: bool = True
    disable: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = {}


class Console(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8081
    token: str = ""


class SourceConfig(Section, frozen=True):
    name: Name
    write_key: Name
    kochava_app_id: str | dict[str, str]
    kochava_api_key: str = ""
    kochava_secret: str = ""
    webhook_token: str = ""
    webhook_secret: str = ""
    postback_token: str = ""
    segment_write_key: str = ""
    traits: tuple[str, ...] = ()
    consent_categories: tuple[str, ...] = ()

    def public(self) -> Source:
        """What plugins see of it."""
        return Source(
            name=self.name,
            kochava_app_id=self.kochava_app_id,
            traits=self.traits,
            consent_categories=self.consent_categories,
        )


class Config(Section, frozen=True):
    server: Server = Server()
    spool: Spool = Spool()
    kochava: Kochava = Kochava()
    segment: Segment = Segment()
    delivery: Delivery = Delivery()
    plugins: PluginSettings = PluginSettings()
    console: Console = Console()
    sources: tuple[SourceConfig, ...] = ()


def find_problems(config: Config, file: str) -> list[Problem]:
    """What types cannot say: values that do not go together, and parts that do not stand yet."""
    problems: list[Problem] = []

    def problem(key: str, what: str, mend: str) -> None:
        problems.append(Problem(file, key, what, mend))

    for key, url in (
        ("kochava.track_url", config.kochava.track_url),
        ("kochava.identity_link_url", config.kochava.identity_link_url),
        ("segment.api_url", config.segment.api_url),
    ):
        if not _is_url(url):
            problem(key, f"{url!r} is not a URL", "begin it with https:// (or http://) and a host")
    delivery = config.delivery
    if delivery.retry_base_seconds > delivery.retry_max_seconds:
        problem(
            "delivery.retry_base_seconds",
            "is greater than delivery.retry_max_seconds",
            "the first wait cannot be longer than the longest",
        )
    for index, network in enumerate(config.server.trusted_proxies):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            mend = 'write an address or a network, such as "10.0.0.0/8"'
            problem(f"server.trusted_proxies[{index}]", f"{network!r} is neither", mend)
    _not_yet(config, problem)
    _sources(config.sources, problem)
    return problems


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an address, a port that is no number
        return False


def _not_yet(config: Config, problem: Any) -> None:
    """Parts of the file that this version does not stand behind: refused, never ignored."""
    later = {
        "server.workers": (config.server.workers != 1, "leave it at 1"),
        "server.tls_certificate": (
            bool(config.server.tls_certificate or config.server.tls_key),
            "leave both TLS keys empty and end TLS in front of the proxy",
        ),
        "spool.backend": (config.spool.backend != "sqlite", 'write "sqlite"'),
        "delivery.transport": (config.delivery.transport != "aiohttp", 'write "aiohttp"'),
        "console.token": (bool(config.console.token), "leave it empty: there is no console yet"),
    }
    for index, source in enumerate(config.sources):
        for key in ("webhook_token", "postback_token"):
            later[f"sources[{index}].{key}"] = (bool(getattr(source, key)), "leave it empty")
    for key, (used, mend) in later.items():
        if used:
            problem(key, "is not available in this version", mend)


def _sources(sources: tuple[SourceConfig, ...], problem: Any) -> None:
    if not sources:
        problem("sources", "there is no source", "add a [[sources]] table with name, write_key "
                "and kochava_app_id")  # fmt: skip
    for key in ("name", "write_key"):
        seen: dict[str, int] = {}
        for index, source in enumerate(sources):
            value = getattr(source, key)
            if value in seen:
                what = f"is the same as sources[{seen[value]}].{key}"
                problem(f"sources[{index}].{key}", what, "give each source its own")
            seen.setdefault(value, index)
    for index, source in enumerate(sources):
        place = f"sources[{index}]"
        if source.write_key != source.write_key.strip() or ":" in source.write_key:
            mend = "write the key alone: HTTP's Basic authentication cannot carry these"
            problem(f"{place}.write_key", "has a colon, or space around it", mend)
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
