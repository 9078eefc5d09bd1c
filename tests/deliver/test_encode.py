"""The bytes and headers that go over the wire."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from proxy.deliver.encode import Encoder
from proxy.deliver.signing import sign
from proxy.kochava import IdentityLink, KochavaRequest, SegmentTrack
from tests.support import make_config

KEYS = {"kochava_api_key": "demo-api-key", "kochava_secret": "demo-secret"}


def request(**data: Any) -> KochavaRequest:
    return KochavaRequest(
        action="event", kochava_app_id="koacme-ios", kochava_device_id="dev-1", data=data
    )


LINK = IdentityLink(
    kochava_app_id="koacme-ios", device_id={"idfv": "V"}, data={"app_userid": "Zoë/1"}
)


def test_an_event_goes_to_the_track_url_as_compact_json() -> None:
    outgoing = Encoder(make_config()).encode(request(device_ua="UA/1", sum=9.5), "acme")
    assert outgoing.method == "POST"
    assert outgoing.url == "https://control.kochava.com/track/json"
    assert outgoing.body == (
        b'{"action":"event","kochava_app_id":"koacme-ios","kochava_device_id":"dev-1",'
        b'"data":{"device_ua":"UA/1","sum":9.5}}'
    )
    assert outgoing.headers == {"Content-Type": "application/json", "User-Agent": "kochava-proxy"}


def test_a_link_goes_to_the_identity_link_url_without_an_action() -> None:
    outgoing = Encoder(make_config()).encode(LINK, "acme")
    assert outgoing.url == "https://control.kochava.com/v1/cpi/identityLink.php"
    assert outgoing.body.decode() == (
        '{"kochava_app_id":"koacme-ios","device_id":{"idfv":"V"},"data":{"app_userid":"Zoë/1"}}'
    )
    assert outgoing.headers["User-Agent"] == "kochava-proxy"


@pytest.mark.parametrize("data", [{}, {"device_ua": ""}, {"device_ua": None}], ids=str)
def test_without_a_device_user_agent_the_header_says_unknown(data: dict[str, Any]) -> None:
    # Kochava, "S2S Without Device UA".
    outgoing = Encoder(make_config()).encode(request(**data), "acme")
    assert outgoing.headers["User-Agent"] == "Unknown"


def test_the_device_user_agent_is_url_encoded_on_demand_in_the_copy_that_is_sent() -> None:
    original = request(device_ua="Mozilla/5.0 (iPhone; ü)")
    encoder = Encoder(make_config(kochava={"encode_user_agent": True}))
    body = encoder.encode(original, "acme").body
    assert b'"device_ua":"Mozilla%2F5.0%20%28iPhone%3B%20%C3%BC%29"' in body
    assert original.data["device_ua"] == "Mozilla/5.0 (iPhone; ü)"


@pytest.mark.parametrize("sent", [request(device_ua="UA/1 ü", sum=10.0), LINK], ids=["event", "l"])
def test_the_signed_bytes_are_the_sent_bytes(sent: KochavaRequest | IdentityLink) -> None:
    outgoing = Encoder(make_config(KEYS)).encode(sent, "acme")
    assert b"\\/1" in outgoing.body
    assert outgoing.body.isascii()
    assert sign(outgoing.body, "demo-api-key", "demo-secret").items() <= outgoing.headers.items()


def test_only_the_source_with_credentials_signs() -> None:
    config = make_config(KEYS)
    other = Encoder(config).encode(request(device_ua="UA/1"), "another")
    assert not {"Kochava-Api-Key", "Kochava-Auth-Token"} & set(other.headers)
    assert b"UA/1" in other.body


@pytest.mark.parametrize("value", [object(), {1, object()}, b"\xff".decode("latin-1") and {(): 1}])
def test_what_json_does_not_know_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Encoder(make_config()).encode(request(device_ua="UA", odd=value), "acme")


def to_segment(**changed: Any) -> SegmentTrack:
    said: dict[str, Any] = {
        "event": "Install Attributed",
        "message_id": "kochava-1",
        "user_id": "u-1",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "properties": {"provider": "Kochava"},
        "context": {"device": {"id": "d-1"}},
    }
    return SegmentTrack(**{**said, **changed})


class TestSegment:
    def encoder(self) -> Encoder:
        keys = {"segment_write_key": "wk_segment", **KEYS}
        return Encoder(make_config(keys, segment={"api_url": "https://events.example/v1/"}))

    def test_a_track_goes_to_segment_with_the_key_of_the_source(self) -> None:
        outgoing = self.encoder().encode(to_segment(), "acme")
        assert (outgoing.method, outgoing.url) == ("POST", "https://events.example/v1/track")
        scheme, _, key = outgoing.headers.pop("Authorization").partition(" ")
        assert (scheme, b64decode(key)) == ("Basic", b"wk_segment:")
        # Nothing of Kochava's: no signature, no made-up user agent.
        assert outgoing.headers == {
            "Content-Type": "application/json",
            "User-Agent": "kochava-proxy",
        }
        body = json.loads(outgoing.body)
        assert body["context"].pop("library")["name"] == "kochava-proxy"
        assert body == {
            "type": "track",
            "event": "Install Attributed",
            "messageId": "kochava-1",
            "userId": "u-1",
            "timestamp": "2026-01-01T00:00:00.000Z",
            "properties": {"provider": "Kochava"},
            "context": {"device": {"id": "d-1"}},
        }

    def test_a_library_that_a_plugin_names_stays(self) -> None:
        track = to_segment(context={"library": {"name": "mine"}})
        body = json.loads(self.encoder().encode(track, "acme").body)
        assert body["context"] == {"library": {"name": "mine"}}

    @pytest.mark.parametrize(
        "changed",
        [{"user_id": None}, {"user_id": ""}, {"event": ""}, {"message_id": ""}],
        ids=str,
    )
    def test_what_segment_would_take_and_drop_is_not_sent(self, changed: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="a SegmentTrack needs"):
            self.encoder().encode(to_segment(**changed), "acme")

    def test_without_a_key_nothing_reaches_it(self) -> None:
        assert self.encoder().reaches_segment("acme")
        assert not Encoder(make_config()).reaches_segment("acme")
