"""Values that do not go together, and parts of the contract that do not stand yet."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from proxy.errors import ConfigError
from tests.support import SOURCE, make_config
from tests.test_config import refused


@pytest.mark.parametrize("key", ["kochava.track_url", "kochava.identity_link_url",
                                 "segment.api_url", "server.public_url"])  # fmt: skip
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


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ([], "is an empty list"),
        (["wk_1", " wk_2"], "has a colon, or space around it"),
        (["wk_1", ""], None),
        (["wk_1", 2], None),
    ],
    ids=repr,
)
def test_each_write_key_of_a_list_is_checked(keys: list[object], what: str | None) -> None:
    (place, said), = refused({"write_key": keys}).items()  # fmt: skip
    assert place == "sources[0].write_key"
    assert said == (what or said)


@pytest.mark.parametrize("url", ["10.0.0.1:3128", "https://10.0.0.1", "socks5://h:1", "http://"])
def test_a_proxy_is_one_for_http_and_is_not_repeated(url: str) -> None:
    found = refused(delivery={"proxy": url})
    assert found == {"delivery.proxy": "is not the URL of an HTTP proxy"}


def test_curl_is_refused_where_pycurl_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    curl = {"transport": "curl"}
    assert make_config(delivery=curl).delivery.transport == "curl"
    monkeypatch.setitem(sys.modules, "pycurl", None)  # so that importing it fails
    assert "needs pycurl" in refused(delivery=curl)["delivery.transport"]
    with pytest.raises(ConfigError, match=r"mend: pip install 'kochava-proxy\[fast\]'"):
        make_config(delivery=curl)
    assert make_config().delivery.transport == "aiohttp"  # which does not need it


def test_an_empty_secret_signs_nothing() -> None:
    """As left behind by a variable that is not set."""
    source = make_config({"webhook_token": "t", "webhook_secret": ["", "b"]}).sources[0]
    assert source.webhook_secrets == ("b",)


def test_a_webhook_secret_without_a_token_would_never_be_asked_for() -> None:
    assert list(refused({"webhook_secret": "hush"})) == ["sources[0].webhook_token"]


@pytest.mark.parametrize("token", ["a/b", "a b", "a?b", "../x", "é", "a%2Fb"])
@pytest.mark.parametrize("key", ["webhook_token", "postback_token"])
def test_a_token_that_no_path_could_hold_is_refused(key: str, token: str) -> None:
    given = {"segment_write_key": "wk_segment", key: token}
    assert list(refused(given)) == [f"sources[0].{key}"]


def test_a_webhook_and_postbacks_may_have_one_token() -> None:
    given = {"webhook_token": "t", "postback_token": "t", "segment_write_key": "wk_segment"}
    source = make_config(given).sources[0]
    assert source.webhook_token == source.postback_token


def test_postbacks_need_to_know_where_to_but_may_be_off() -> None:
    found = refused({"postback_token": "t"})
    assert found == {"sources[0].segment_write_key": "is empty while postback_token is set"}
    assert make_config({"segment_write_key": "wk_segment"}).sources[0].postback_token == ""


def test_the_wait_for_a_user_is_within_the_whole_wait() -> None:
    found = refused(postbacks={"hold_seconds": 20, "user_hold_seconds": 21})
    assert list(found) == ["postbacks.user_hold_seconds"]
    make_config(postbacks={"hold_seconds": 0, "user_hold_seconds": 0})


def test_a_parameter_of_postbacks_means_one_thing() -> None:
    parameters = {"network": "partner", "campaign": ["c", "partner"], "tier": "t"}
    found = refused(postbacks={"parameters": parameters})
    assert found == {"postbacks.parameters.campaign": "'partner' is given to network already"}


def test_a_parameter_of_postbacks_may_be_named_twice_and_take_a_spelling_of_ours() -> None:
    parameters = {"network": ["partner", "partner", "campaign_name"], "tier": "t"}
    postbacks = make_config(postbacks={"parameters": parameters}).postbacks
    assert postbacks.parameters["network"] == ("partner", "partner", "campaign_name")


@pytest.mark.parametrize(
    ("given", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")]
)
def test_tls_needs_both_of_its_files(given: str, missing: str) -> None:
    found = refused(server={given: "file.pem"})
    assert found == {f"server.{missing}": "is empty while its twin is set"}


def test_the_first_wait_cannot_be_longer_than_the_longest() -> None:
    found = refused(delivery={"retry_base_seconds": 10, "retry_max_seconds": 5})
    assert list(found) == ["delivery.retry_base_seconds"]


def test_the_shares_of_live_and_bulk_are_parts_of_one_whole() -> None:
    found = refused(delivery={"live_share": 0.8, "bulk_share": 0.3})
    assert list(found) == ["delivery.bulk_share"]
    make_config(delivery={"live_share": 0.7, "bulk_share": 0.3})


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


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("write_key", ["a", "b"], ["c", "b"]),
        ("write_key", "a", ["b", "a"]),
        ("webhook_token", "a", "a"),
        ("postback_token", "a", "a"),
    ],
)
def test_two_sources_share_no_key_of_a_list_and_no_token(
    key: str, first: object, second: object
) -> None:
    """Nobody could say whose message it is."""
    sources = [
        {"name": name, "write_key": f"wk_{name}", "kochava_app_id": "ko",
         "segment_write_key": "wk_segment", key: value}
        for name, value in (("one", first), ("two", second))
    ]  # fmt: skip
    assert refused(sources=sources) == {f"sources[1].{key}": f"is the same as sources[0].{key}"}


def test_one_source_may_name_a_key_twice() -> None:
    assert make_config({"write_key": ["a", "a"]}).sources[0].write_keys == ("a", "a")


def test_without_a_source_nothing_can_be_received() -> None:
    assert refused(sources=[]) == {"sources": "there is no source"}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"spool": {"backend": "nats", "url": "nats://127.0.0.1"}}, "spool.backend"),
        ({"console": {"token": "t"}}, "console.token"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_stand_yet_is_refused_by_name(table: dict[str, Any], key: str) -> None:
    assert refused(**table) == {key: "is not available in this version"}
