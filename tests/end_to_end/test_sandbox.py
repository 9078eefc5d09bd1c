"""`run --sandbox --examples`: everything to see, nothing sent out."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import msgspec
import trustme

from tests.end_to_end.processes import (
    Sink,
    command,
    running,
    serving,
    until,
    until_async,
    write_config,
)
from tests.receive.test_listener import certify
from tests.support import IOS_DEVICE, SOURCE

EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_the_examples_are_told_as_message_request_and_answer(tmp_path: Path) -> None:
    # With credentials: the sandbox then wants every request signed, and says so if one is not.
    source = {**SOURCE, "kochava_api_key": "demo-api-key", "kochava_secret": "demo-secret"}
    async with serving(Sink()) as kochava:
        delivery = {"transport": "curl", "proxy": kochava.url}  # through which nothing must go
        config = write_config(tmp_path, kochava.url, sources=[source], delivery=delivery)
        async with running(config, "--sandbox", "--examples", EXAMPLES) as proxy:
            await until(lambda: "5 messages are through" in proxy.log.read_text())
            assert proxy.process is not None
            assert proxy.process.poll() is None
            assert await proxy.end() == 0
            said = proxy.log.read_text()
        assert not kochava.requests
    assert "nothing leaves this machine" in said
    assert said.count("[delivered]") == 5  # four of the messages, and the install coming home
    attributed = said.partition('"event": "Install Attributed"')[2]
    assert '"user_id": "u-88"' in attributed
    assert said.count("[filtered: integrations]") == 1
    assert 'track "Order Completed"\n  -> {' in said
    assert '"event_name": "Purchase"' in said
    assert "Traceback" not in said


async def test_the_examples_go_through_a_port_with_tls(tmp_path: Path) -> None:
    certify(trustme.CA(), tmp_path)
    server = {"port": 0, "tls_certificate": "proxy.pem", "tls_key": "proxy.key"}
    config = write_config(tmp_path, "http://127.0.0.1:9", server=server)
    async with running(config, "--sandbox", "--examples", EXAMPLES) as proxy:
        await until(lambda: "5 messages are through" in proxy.log.read_text())
        assert await proxy.end() == 0
        assert proxy.log.read_text().count("[delivered]") == 5


async def test_examples_without_a_postback_are_not_waited_for_long(tmp_path: Path) -> None:
    """A second run within a day: what comes for its install is a repeat."""
    config = write_config(tmp_path, "http://127.0.0.1:9")
    for said in ('"event": "Install Attributed"', "no postback of Kochava's"):
        async with running(config, "--sandbox", "--examples", EXAMPLES) as proxy:
            await until(lambda: "5 messages are through" in proxy.log.read_text())
            assert await proxy.end() == 0
            assert said in proxy.log.read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.json").write_text('{"type": "track", "event": "Tested", "anonymousId": "a-1"}')
    async with running(config, "--sandbox", "--examples", other) as proxy:
        await until(lambda: "1 messages are through" in proxy.log.read_text(), seconds=5)
        assert await proxy.end() == 0


async def test_a_signal_ends_it_even_while_examples_wait_for_an_answer(tmp_path: Path) -> None:
    twice = tmp_path / "twice"  # the second is a duplicate: nothing will ever be told of it
    twice.mkdir()
    for name in ("1.json", "2.json"):
        (twice / name).write_text(
            '{"type": "track", "event": "Tested", "userId": "u-1", "messageId": "m-1"}'
        )
    config = write_config(tmp_path, "http://127.0.0.1:9")
    async with running(config, "--sandbox", "--examples", twice) as proxy:
        await until(lambda: "nothing is sent" in proxy.log.read_text())
        began = time.monotonic()
        assert await proxy.end() == 0
        assert time.monotonic() - began < 6


async def test_of_sources_that_share_an_app_each_hears_of_its_installs(tmp_path: Path) -> None:
    """Kochava knows apps alone; a source that does not know the device waits for it."""
    ids = ("one", "two")
    sources = [{"name": each, "write_key": each, "kochava_app_id": "koacme"} for each in ids]
    config = write_config(tmp_path, "http://127.0.0.1:9", sources=sources)
    install = {
        "writeKey": "one",
        "userId": "u-1",
        "event": "Application Installed",
        "context": {"device": IOS_DEVICE},
    }

    async def taken() -> bool:
        _, output = await command("stats", "-c", config, "--json")
        counts = msgspec.json.decode(output)["sources"]
        held = {name: (counts[name]["received"], counts[name]["pending"]) for name in ids}
        return held == {"one": (2, 0), "two": (1, 1)}

    async with running(config, "--sandbox") as proxy, aiohttp.ClientSession() as session:
        async with session.post(f"{proxy.url}/v1/track", json=install) as answer:
            assert answer.status == 200
        await until_async(taken)
