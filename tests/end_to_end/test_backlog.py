from __future__ import annotations

from pathlib import Path

from tests.end_to_end.load import Load
from tests.end_to_end.processes import Sink, running, serving, until, write_config

PLUGIN = """\
from proxy import KochavaRequest, Source, Track, event_request, hookimpl, read_device


@hookimpl
def map_track(message: Track, source: Source) -> KochavaRequest:
    device = read_device(message)
    return event_request(message, source, device, "Mended", {"id": message.properties["id"]})
"""


async def test_a_plugin_dropped_in_applies_to_what_waits_already(tmp_path: Path) -> None:
    load, sink = Load(40, seed=5), Sink()
    load.ids = [f"delivered-{number}" for number in range(40)]
    sink.answer = lambda _: (503, b"")
    async with serving(sink) as kochava, running(write_config(tmp_path, kochava.url)) as proxy:
        await load.send(proxy)
        await until(lambda: len(kochava.requests) >= 40)
        assert await proxy.end() == 0
        assert (await proxy.stats())["pending"] == 40
        assert {each.body["data"]["event_name"] for each in kochava.requests} == {"Tested"}

        kochava.requests.clear()
        sink.answer = Sink().answer
        (tmp_path / "plugins.d").mkdir()
        (tmp_path / "plugins.d" / "mended.py").write_text(PLUGIN)
        await proxy.start()
        await load.check(proxy, kochava)
        assert {each.body["data"]["event_name"] for each in kochava.requests} == {"Mended"}
        assert await proxy.end() == 0
