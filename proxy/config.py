"""config.toml as Structs. Their defaults are the product's; the shipped file spells them out, and
a test holds the two together. docs/configuration.md explains every key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.segment import Source

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]
NotNegativeCount = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Busy = Annotated[float, Meta(gt=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: frozen, and no key that is not a field."""

    def __repr__(self) -> str:
        """Without its values: a config holds secrets, and reprs end up in logs."""
        return f"{type(self).__name__}(...)"


class Server(Section, frozen=True):
    host: Name = "127.0.0.1"
    port: Port = 8080
    workers: NotNegativeCount = 1
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    max_connections_per_address: NotNegativeCount = 2_000


class Spool(Section, frozen=True):
    backend: Literal["sqlite", "nats"] = "sqlite"
    path: Name = "data/spool.db"
    url: str = ""
    replicas: Count = 1
    high_water_megabytes: NotNegative = 10_000
    high_water_hours: NotNegative = 0
    reserve_megabytes: NotNegative = 32


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
    bulk_age_hours: NotNegative = 24
    live_share: Share = 0.5
    bulk_share: Share = 0.1
    bulk_busy: Busy = 0.75
    transport: Literal["aiohttp", "curl"] = "aiohttp"
    proxy: str = ""
    ca_file: str = ""


class Postbacks(Section, frozen=True):
    hold_seconds: NotNegative = 600
    user_hold_seconds: NotNegative = 30
    parameters: dict[str, str | tuple[str, ...]] = {}


class Identities(Section, frozen=True):
    hold_seconds: NotNegative = 0
    max_devices: Count = 5_000_000
    max_age_days: Positive = 400


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
    write_key: Name | tuple[Name, ...]
    kochava_app_id: str | dict[str, str]
    kochava_api_key: str = ""
    kochava_secret: str = ""
    webhook_token: str = ""
    webhook_secret: str | tuple[str, ...] = ""
    postback_token: str = ""
    segment_write_key: str = ""
    traits: tuple[str, ...] = ()
    consent_categories: tuple[str, ...] = ()
    rate_limit: NotNegative = 0

    @property
    def write_keys(self) -> tuple[str, ...]:
        """All keys by which this source is known: several while one replaces another."""
        return (self.write_key,) if isinstance(self.write_key, str) else self.write_key

    @property
    def app_ids(self) -> tuple[str, ...]:
        """The app ids of all its platforms."""
        ids = self.kochava_app_id
        return (ids,) if isinstance(ids, str) else tuple(ids.values())

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Any of these may have signed; empty if signatures are not asked for."""
        secrets = self.webhook_secret
        return tuple(filter(None, (secrets,) if isinstance(secrets, str) else secrets))

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
    postbacks: Postbacks = Postbacks()
    identities: Identities = Identities()
    plugins: PluginSettings = PluginSettings()
    console: Console = Console()
    sources: tuple[SourceConfig, ...] = ()
