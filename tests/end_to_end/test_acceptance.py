"""Segment's own Python client on the one side, Kochava on the other, the real process between."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client  # type: ignore[import-untyped]  # it has no types

from tests.end_to_end.processes import (
    LINK_PATH,
    TRACK_PATH,
    Received,
    Sink,
    running,
    serving,
    until,
    write_config,
)
from tests.support import IOS_DEVICE, NOW, SOURCE

IDS = {"idfa": IOS_DEVICE["advertisingId"], "idfv": IOS_DEVICE["id"]}
IOS = {
    "device": {**IOS_DEVICE, "model": "iPhone15,2", "attTrackingStatus": 3},
    "os": {"name": "iOS", "version": "17.5"},
    "app": {"version": "4.2.0"},
    "ip": "203.0.113.9",
    "userAgent": "Acme/4.2.0 CFNetwork/1485 Darwin/23.1.0",
}
ANDROID = {
    "device": {
        "id": "9774d56d682e549c",
        "advertisingId": "0d9c2b7a-1111-4222-8333-444455556666",
        "model": "Pixel 8",
        "type": "android",
    },
    "os": {"name": "Android", "version": "14"},
}
AUDIENCE = {
    "personas": {"computation_class": "audience", "computation_key": "bought_lately"},
}


def send(url: str, options: dict[str, Any]) -> None:
    """What a customer's code does; blocks until all is sent."""
    failures: list[object] = []
    client = Client(
        "wk_acme", host=url, on_error=lambda *what: failures.append(what), max_retries=1, **options
    )
    moment = datetime.fromtimestamp(NOW, UTC)
    client.track("u-88", "Application Installed", context=IOS, timestamp=moment)
    client.track(
        "u-88",
        "Order Completed",
        {"revenue": "9.99", "currency": "eur", "order_id": "o-1", "products": [{"sku": "s"}]},
        context=IOS,
        timestamp=moment,
    )
    client.track("u-99", "Level Up", {"level": 7}, context=ANDROID, timestamp=moment)
    client.identify(
        "u-88",
        {"bought_lately": True, "email": "a@example.com"},
        context=AUDIENCE,
        integrations={"All": False, "Kochava": True},
    )
    if not options.get("sync_mode"):
        client.flush()
        client.join()
    assert not failures


def without_time(request: Received) -> dict[str, Any]:
    """The body; `usertime` is checked and taken out, for it is corrected by the time on the way."""
    body = request.body
    if "usertime" in body["data"]:
        assert abs(body["data"].pop("usertime") - NOW) < 60
    return body


@pytest.mark.parametrize(
    "options",
    [{}, {"gzip": True}, {"sync_mode": True}],
    ids=["in the background", "gzipped", "one by one"],
)
async def test_an_install_two_tracks_and_an_audience_become_four_requests(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    async with serving(Sink()) as kochava:
        config = write_config(tmp_path, kochava.url, sources=[SOURCE])
        async with running(config) as proxy:
            # A daemon: a client that never ends must fail this test, not hang the run.
            customer = threading.Thread(target=send, args=(proxy.url, options), daemon=True)
            customer.start()
            await until(lambda: not customer.is_alive())
            await until(lambda: len(kochava.requests) == 4)
            counts = await proxy.settles()
            assert (counts["received"], counts["delivered"], counts["dead"]) == (4, 4, 0)
            assert (counts["rejected"], counts["filtered"], counts["duplicate"]) == ({}, {}, 0)
            began = time.monotonic()
            assert await proxy.end() == 0
            assert time.monotonic() - began < 5
            assert (await proxy.stats())["delivered"] == 4

    device = {
        "device_ids": IDS,
        "device_ua": IOS["userAgent"],
        "device_ver": "",
        "origination_ip": "203.0.113.9",
        "app_version": "4.2.0",
        "device_limit_tracking": False,
        "app_tracking_transparency": {"att": True, "att_detail": "authorized"},
    }
    common = {"kochava_app_id": "koacme-ios", "kochava_device_id": IOS_DEVICE["id"]}
    # Devices go side by side, so that only the order of each one's requests is known.
    link = next(request for request in kochava.requests if request.path == LINK_PATH)
    android = next(
        request
        for request in kochava.requests
        if "adid" in request.body["data"].get("device_ids", {})
    )
    install, order = (each for each in kochava.requests if each not in (link, android))
    assert kochava.requests.index(order) < kochava.requests.index(link)
    assert {each.path for each in (install, order, android)} == {TRACK_PATH}
    assert without_time(install) == {"action": "install", **common, "data": device}
    assert without_time(order) == {
        "action": "event",
        **common,
        "data": {
            **device,
            "event_name": "Purchase",
            "currency": "EUR",
            "event_data": {
                "revenue": "9.99",
                "sum": 9.99,
                "currency": "eur",
                "order_id": "o-1",
                "products": '[{"sku":"s"}]',
            },
        },
    }
    assert without_time(android) == {
        "action": "event",
        "kochava_app_id": "koacme-android",
        "kochava_device_id": "9774d56d682e549c",
        "data": {
            "device_ids": {
                "adid": "0d9c2b7a-1111-4222-8333-444455556666",
                "android_id": "9774d56d682e549c",
            },
            "device_ua": "",
            "device_ver": "Pixel 8-Android-14",
            "event_name": "Level Up",
            "event_data": {"level": 7},
        },
    }
    assert link.body == {
        "kochava_app_id": "koacme-ios",
        "device_id": IDS,
        "data": {"bought_lately": "true", "app_userid": "u-88"},
    }
    assert android.headers["User-Agent"] == "Unknown"
    assert install.headers["User-Agent"] != "Unknown"
