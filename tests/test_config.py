"""The shipped file, and the values that do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.config import Config, Console, Section, SourceConfig
from proxy.configfile import load_config, read_config
from proxy.errors import ConfigError
from tests.support import SOURCE, make_config

SHIPPED = Path(__file__).parent.parent / "config.toml"
SECRETS = (
    "write_key", "kochava_api_key", "kochava_secret", "webhook_token", "webhook_secret",
    "postback_token", "segment_write_key",
)  # fmt: skip


def refused(source: dict[str, Any] | None = None, **tables: Any) -> dict[str, str]:
    """Everything that is wrong with such a config: what, by key."""
    with pytest.raises(ConfigError) as caught:
        make_config(source, **tables)
    assert all(problem.mend for problem in caught.value.problems)
    return {problem.key: problem.what for problem in caught.value.problems}


def test_the_shipped_file_is_exactly_the_defaults() -> None:
    shipped = load_config(SHIPPED, {})
    names = ("name", "write_key", "kochava_app_id")
    required = {name: getattr(shipped.sources[0], name) for name in names}
    assert shipped == Config(sources=(SourceConfig(**required),))


def test_the_shipped_file_shows_every_key_there_is() -> None:
    lines = [line.lstrip("# ") for line in SHIPPED.read_text().splitlines()]
    shown: dict[str, set[str]] = {}
    table = ""
    for line in lines:
        if line.startswith("["):
            table = line.strip("[]").split(".")[0]
            shown.setdefault(table, set()).update(line.strip("[]").split(".")[1:2])
        elif " = " in line:
            shown[table].add(line.split(" = ")[0])
    wanted = {
        field.name: set(SourceConfig.__struct_fields__)
        if field.name == "sources"
        else set(field.default.__struct_fields__)
        for field in msgspec.structs.fields(Config)
    }
    # An example of a plugin's own settings is no key of ours.
    shown["plugins"].discard("event_names")
    assert shown == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.port", 65_536),
        ("server.port", -1),
        ("server.host", ""),
        ("spool.path", ""),
        ("spool.backend", "redis"),
        ("spool.replicas", 0),
        ("kochava.track_url", ""),
        ("delivery.timeout_seconds", 0),
        ("delivery.timeout_seconds", float("nan")),
        ("delivery.timeout_seconds", float("inf")),
        ("delivery.max_concurrency", 0),
        ("delivery.retry_base_seconds", -1),
        ("delivery.retry_horizon_hours", 0),
        ("delivery.dedup_window_hours", -0.5),
        ("plugins.directory", ""),
        ("console.port", 70_000),
    ],
    ids=lambda value: repr(value) if not isinstance(value, str) or not value else value,
)
def test_a_value_out_of_range_is_refused(key: str, value: object) -> None:
    table, name = key.split(".")
    assert list(refused(**{table: {name: value}})) == [key]


def test_the_ends_of_ranges_are_good() -> None:
    config = make_config(server={"port": 0}, delivery={"dedup_window_hours": 0})
    assert (config.server.port, config.delivery.dedup_window_hours) == (0, 0)


@pytest.mark.parametrize("key", ["kochava.track_url", "kochava.identity_link_url",
                                 "segment.api_url"])  # fmt: skip
@pytest.mark.parametrize(
    "url",
    [
        "control.kochava.com/track/json",
        "https://",
        "https:///track",
        "ftp://kochava.example",
        "http://host:0x50/",
        "http://[::1/",
    ],
)
def test_a_url_has_a_scheme_and_a_host(key: str, url: str) -> None:
    table, name = key.split(".")
    assert "not a URL" in refused(**{table: {name: url}})[key]


@pytest.mark.parametrize("key", ["wk_acme\n", " wk", "wk:acme"])
def test_a_write_key_that_no_client_could_send_is_refused(key: str) -> None:
    found = refused({"write_key": key})
    assert found == {"sources[0].write_key": "has a colon, or space around it"}


def test_the_first_wait_cannot_be_longer_than_the_longest() -> None:
    found = refused(delivery={"retry_base_seconds": 10, "retry_max_seconds": 5})
    assert list(found) == ["delivery.retry_base_seconds"]


def test_trusted_proxies_are_addresses_or_networks() -> None:
    good = make_config(server={"trusted_proxies": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]})
    assert len(good.server.trusted_proxies) == 3
    found = refused(server={"trusted_proxies": ["10.0.0.0/8", "load-balancer"]})
    assert found == {"server.trusted_proxies[1]": "'load-balancer' is neither"}


@pytest.mark.parametrize("key", ["name", "write_key"])
def test_two_sources_cannot_share(key: str) -> None:
    other = {"name": "other", "write_key": "wk_other", "kochava_app_id": "ko", key: SOURCE[key]}
    assert refused(sources=[SOURCE, other]) == {
        f"sources[1].{key}": f"is the same as sources[0].{key}"
    }


@pytest.mark.parametrize(
    ("given", "missing"),
    [("kochava_api_key", "kochava_secret"), ("kochava_secret", "kochava_api_key")],
)
def test_signing_needs_both_of_its_keys(given: str, missing: str) -> None:
    assert list(refused({given: "hush"})) == [f"sources[0].{missing}"]


@pytest.mark.parametrize(
    ("app_id", "key"),
    [
        ("", "sources[0].kochava_app_id"),
        ({}, "sources[0].kochava_app_id"),
        ({"ios": "ko", "windows": "ko"}, "sources[0].kochava_app_id"),
        ({"iOS": "ko"}, "sources[0].kochava_app_id"),
        ({"ios": "ko", "android": ""}, "sources[0].kochava_app_id.android"),
        (5, "sources[0].kochava_app_id"),
    ],
    ids=repr,
)
def test_an_app_id_that_names_no_app_is_refused(app_id: object, key: str) -> None:
    assert list(refused({"kochava_app_id": app_id})) == [key]


def test_one_platform_is_enough() -> None:
    source = make_config({"kochava_app_id": {"ios": "ko"}}).sources[0].public()
    assert (source.app_id("ios"), source.app_id("android"), source.app_id(None)) == (
        "ko", None, None,
    )  # fmt: skip


def test_without_a_source_nothing_can_be_received() -> None:
    assert refused(sources=[]) == {"sources": "there is no source"}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"server": {"workers": 2}}, "server.workers"),
        ({"server": {"tls_certificate": "c.pem"}}, "server.tls_certificate"),
        ({"server": {"tls_key": "k.pem"}}, "server.tls_certificate"),
        ({"spool": {"backend": "nats", "url": "nats://127.0.0.1"}}, "spool.backend"),
        ({"delivery": {"transport": "curl"}}, "delivery.transport"),
        ({"console": {"token": "t"}}, "console.token"),
        ({"source": {"webhook_token": "t"}}, "sources[0].webhook_token"),
        ({"source": {"postback_token": "t"}}, "sources[0].postback_token"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_stand_yet_is_refused_by_name(table: dict[str, Any], key: str) -> None:
    assert refused(**table) == {key: "is not available in this version"}


def test_no_secret_is_ever_shown() -> None:
    """Neither in a repr, which ends up in logs, nor in the text of a problem."""
    secret = "hush-hush"
    given: dict[str, Any] = dict.fromkeys(SECRETS, secret)
    with pytest.raises(ConfigError) as caught:
        make_config(given, sources=[{**SOURCE, **given}, {**SOURCE, **given}], consol={})
    assert secret not in f"{caught.value} {caught.value!r} {caught.value.problems}"

    config = Config(
        sources=(SourceConfig(name="acme", kochava_app_id="ko", **given),),
        console=Console(token=secret),
    )
    parts: list[Section] = [config, config.console, *config.sources]
    assert secret not in f"{parts!r} {config.sources} {config.sources[0].public()!r}"


def test_plugins_see_no_keys_of_a_source() -> None:
    public = make_config({"kochava_api_key": "k", "kochava_secret": "s"}).sources[0].public()
    assert set(public.__struct_fields__).isdisjoint(SECRETS)


def test_the_default_plugin_folder_may_be_missing_but_not_one_that_was_chosen(
    tmp_path: Path,
) -> None:
    read_config({"sources": [SOURCE]}, {}, tmp_path / "config.toml")
    chosen = {"sources": [SOURCE], "plugins": {"directory": "mine"}}
    with pytest.raises(ConfigError) as caught:
        read_config(chosen, {}, tmp_path / "config.toml")
    assert caught.value.problems[0].key == "plugins.directory"
    (tmp_path / "mine").mkdir()
    assert read_config(chosen, {}, tmp_path / "config.toml").plugins.directory == "mine"
