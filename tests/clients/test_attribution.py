"""Installs by Segment's client for Node, postbacks from outside, and what comes home to Segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clients.conftest import KEY
from tests.clients.installed import needs_node, node
from tests.end_to_end.processes import Sink, running, until, write_config
from tests.end_to_end.test_attribution import SOURCE, TOKEN, segment_side

pytestmark = needs_node

IOS = {
    "id": "6D1E8F6A-0A57-4C39-9D53-0B1B7A9F2C10",
    "advertisingId": "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60",
    "adTrackingEnabled": True,
    "type": "ios",
}
ANDROID = {
    "id": "9774d56d682e549c",
    "advertisingId": "0d9c2b7a-1111-4222-8333-444455556666",
    "type": "android",
}
#: Users, their devices, by which ids a postback names these, and how Segment calls that.
INSTALLS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("u-ios", IOS, {"kochava_device_id": IOS["id"], "idfa": "{idfa}"}, {"id": IOS["id"]}),
    (
        "u-android",
        ANDROID,
        {"adid": ANDROID["advertisingId"]},
        {"advertisingId": ANDROID["advertisingId"], "type": "android"},  # only Android has such
    ),
]


def calls(user: str, device: dict[str, Any], *, signed_in: bool) -> list[dict[str, Any]]:
    """A device is installed, by a visitor or by one who has signed in before; then who it is."""
    who = {"anonymousId": f"a-{user}", "context": {"device": device}}
    known = {"userId": user} if signed_in else {}
    return [
        {"type": "track", "event": "Application Installed", **who, **known},
        {"type": "identify", "userId": user, "traits": {"plan": "pro"}, **who},
    ]


async def post_back(url: str, ids: dict[str, Any]) -> None:
    """Twice, as Kochava does if an answer was lost."""
    given = {"event_name": "_install", "network": "Acme Ads", "campaign": "Spring & Süd", **ids}
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"{url}/postbacks/kochava/{TOKEN}", params=given) as answer:
                assert answer.status == 200


@pytest.mark.parametrize("early", [True, False], ids=["postbacks first", "installs first"])
@pytest.mark.parametrize("signed_in", [True, False], ids=["user", "visitor"])
async def test_an_install_of_the_node_client_comes_home_once_with_its_user(
    tmp_path: Path, kochava: Sink, early: bool, signed_in: bool
) -> None:
    sent = [
        call
        for user, device, _, _ in INSTALLS
        for call in calls(user, device, signed_in=signed_in)
    ]  # fmt: skip
    async with segment_side() as segment:
        config = write_config(
            tmp_path,
            kochava.url,
            segment={"api_url": segment.url},
            postbacks={"hold_seconds": 60, "user_hold_seconds": 60},
            sources=[SOURCE],
        )
        async with running(config) as proxy:
            for when in (True, False):
                if when == early:
                    for _, _, ids, _ in INSTALLS:
                        await post_back(proxy.url, ids)
                else:
                    report = await node("server.js", url=proxy.url, key=KEY, calls=sent)
                    assert report.errors == []
            await until(lambda: len({track.get("userId") for track in segment.tracks}) == 2)
            counts = await proxy.settles()

    assert (counts["received"], counts["duplicate"]) == (len(sent) + 4, 2)
    assert (counts["delivered"], counts["rejected"], counts["dead"]) == (len(sent) + 2, {}, 0)
    installs = [each.body for each in kochava.requests if each.body.get("action") == "install"]
    assert {each["kochava_device_id"] for each in installs} == {IOS["id"], ANDROID["id"]}
    for user, _, _, device in INSTALLS:
        [track] = [track for track in segment.tracks if track["userId"] == user]
        assert (track["event"], track["anonymousId"]) == ("Install Attributed", f"a-{user}")
        assert track["properties"]["campaign"] == {"source": "Acme Ads", "name": "Spring & Süd"}
        assert track["context"]["device"] == device
    assert len({track["messageId"] for track in segment.tracks}) == len(segment.tracks) == 2
