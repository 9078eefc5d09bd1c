"""The shipped file, the ranges of values, and secrets that stay secret."""

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
    shown["plugins"] -= {"event_names", "ad_services_token"}
    assert shown == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.port", 65_536),
        ("server.port", -1),
        ("server.host", ""),
        ("server.max_connections_per_address", -1),
        ("spool.high_water_megabytes", -1),
        ("spool.high_water_hours", float("inf")),
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
    off = {
        "server": {"port": 0, "max_connections_per_address": 0},
        "spool": {"high_water_megabytes": 0, "high_water_hours": 0},
        "delivery": {"dedup_window_hours": 0},
    }
    config = make_config({"rate_limit": 0}, **off)
    for table, keys in off.items():
        for key, value in keys.items():
            assert getattr(getattr(config, table), key) == value
    assert config.sources[0].rate_limit == 0


def test_one_key_or_several_are_read_alike() -> None:
    one, several = ({"write_key": key, "webhook_secret": key, "webhook_token": "t"}
                    for key in ("a", ["a", "b"]))  # fmt: skip
    assert make_config(one).sources[0].write_keys == ("a",)
    assert make_config(several).sources[0].write_keys == ("a", "b")
    assert make_config(one).sources[0].webhook_secrets == ("a",)
    assert make_config(several).sources[0].webhook_secrets == ("a", "b")
    assert make_config().sources[0].webhook_secrets == ()


@pytest.mark.parametrize("limit", [-1, "5", float("nan"), float("inf")], ids=repr)
def test_a_rate_limit_is_a_number_of_messages(limit: object) -> None:
    assert list(refused({"rate_limit": limit})) == ["sources[0].rate_limit"]


def test_one_platform_is_enough() -> None:
    source = make_config({"kochava_app_id": {"ios": "ko"}}).sources[0].public()
    assert (source.app_id("ios"), source.app_id("android"), source.app_id(None)) == (
        "ko", None, None,
    )  # fmt: skip


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
