"""Segment's deletion requests, which come by the webhook and by nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import pytest
from aiohttp import web

from proxy.app import App
from proxy.mapping.plugins import load_plugins
from proxy.observe.stats import read_stats
from proxy.spool.base import Counts
from tests.receive.conftest import Door, OpenDoor, track
from tests.support import IOS_DEVICE, NOW, make_config
from tests.test_app import kochava, serving

TOKEN = "t0ken"
WEBHOOK = f"/webhooks/segment/{TOKEN}"
DELETE = {"type": "delete", "userId": "u-1", "messageId": "d-1"}


@pytest.mark.parametrize("body", [DELETE, [track(), DELETE]], ids=["alone", "among others"])
async def test_a_request_to_forget_a_user_is_kept_like_any_message(
    open_door: OpenDoor, body: Any
) -> None:
    door = await open_door(make_config({"webhook_token": TOKEN}))
    answer = await door.client.post(WEBHOOK, json=body)
    assert answer.status == 200
    assert door.types()[-1] == ("acme", "delete")


async def test_nobody_in_particular_cannot_be_forgotten(open_door: OpenDoor) -> None:
    door = await open_door(make_config({"webhook_token": TOKEN}))
    await door.client.post(WEBHOOK, json={"type": "delete", "userId": ""})
    assert door.counts().rejected == {"no_user_anon_id": 1}


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b"])
async def test_a_write_key_forgets_nobody(door: Door, path: str) -> None:
    """It is in every app, for anybody to read."""
    answer = await door.post(path, {"batch": [DELETE, track()]})
    assert answer.status == 200
    assert door.counts().rejected == {"invalid_type": 1}
    assert door.types() == [("acme", "track")]


@pytest.mark.parametrize("path", ["/v1/delete", "/v1/d", "/delete"])
async def test_there_is_no_call_of_that_name(door: Door, path: str) -> None:
    assert (await door.post(path, DELETE)).status == 404


def seen(user: str, device: str) -> dict[str, Any]:
    """A message that teaches whose device it is."""
    ids = {"id": device, "advertisingId": device}
    return track(None, userId=user, context={"device": {**IOS_DEVICE, **ids}})


def audience(user: str) -> dict[str, Any]:
    """As Engage sends it: without a device, which must be known."""
    personas = {"computation_class": "audience", "computation_key": "vip"}
    return {
        "type": "identify",
        "userId": user,
        "traits": {"vip": True},
        "context": {"personas": personas},
    }


async def settled(folder: Path) -> Counts:
    """The ledger once nothing is pending any more."""
    async with asyncio.timeout(10):
        while True:
            stats = read_stats(folder / "data/spool.db", ["acme"], NOW)
            assert stats.balanced
            counts = stats.sources["acme"]
            if counts.received and not counts.pending:
                return counts
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("apart", [True, False], ids=["one by one", "in one array"])
async def test_the_devices_of_a_deleted_user_are_forgotten_and_no_others(
    tmp_path: Path, *, apart: bool
) -> None:
    """Forgotten when learnt long ago, and when learnt a moment before."""
    sent: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        sent.append(await request.json())
        return web.json_response({"success": "1"})

    one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    messages = [
        seen("u-1", one), seen("u-2", two),
        DELETE,
        audience("u-1"), audience("u-2"),
    ]  # fmt: skip
    async with kochava(handle) as url:
        config = make_config(
            {"webhook_token": TOKEN},
            server={"port": 0},
            kochava={"track_url": url, "identity_link_url": url},
        )
        app = App(config, tmp_path, load_plugins(config, tmp_path))
        async with serving(app), aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as client:
            for body in messages if apart else [messages]:
                async with client.post(WEBHOOK, json=body) as answer:
                    assert answer.status == 200
                await settled(tmp_path)
            counts = await settled(tmp_path)
    assert (counts.delivered, counts.filtered) == (3, {"deletion": 1, "no_device_id": 1})
    assert [sum(device in str(body) for body in sent) for device in (one, two)] == [1, 2]
    with apsw.Connection(str(tmp_path / "data/spool.db")) as database:
        people = {person for (person,) in database.execute("SELECT person FROM devices")}
    assert people == {"u:u-2"}
