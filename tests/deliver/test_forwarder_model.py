"""Whatever Kochava answers, and in whatever order: every event comes to the end it has to."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import groupby
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.deliver.transport import Reply
from proxy.errors import TransportError
from proxy.states import Deliver
from tests.deliver.fakes import GOOD, ScriptedTransport, bad, bench, planned, until

PASSING: dict[str, Reply | Exception] = {
    "busy": bad(503),
    "slow down": bad(429, Retry_After="7"),
    "no answer": TransportError("timeout"),
    "not Kochava": bad(200, b"<html>"),
    "wrong key": bad(401),
    "our fault": RuntimeError("a fault of ours"),
}
FINAL = {"delivered": GOOD, "dead": bad(200, b'{"success":"0"}')}

#: Of one event: its device, what goes wrong before, how it ends.
STORY = st.tuples(
    st.sampled_from("xyz"),
    st.lists(st.sampled_from(sorted(PASSING)), max_size=4),
    st.sampled_from(sorted(FINAL)),
)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(stories=st.lists(STORY, min_size=1, max_size=12), concurrency=st.integers(1, 4))
def test_every_event_is_tried_until_its_end_and_no_other_of_its_device_before(
    stories: list[tuple[str, list[str], str]], concurrency: int
) -> None:
    kochava = ScriptedTransport()
    ids = {f"e{number}": story for number, story in enumerate(stories)}
    for id_, (_, failures, end) in ids.items():
        kochava.answers[id_] = [*(PASSING[failure] for failure in failures), FINAL[end]]

    async def play(folder: Path) -> None:
        async with bench(folder, kochava, max_concurrency=concurrency) as b:
            for id_, (device, _, _) in ids.items():
                b.decisions[id_] = Deliver((planned(device, id_),))
            await b.add(*ids)
            while b.counts().pending:
                await b.rests()
                await b.clock.advance(300)
            await until(lambda: len(b.watcher.settled_as) == len(ids))
            assert b.watcher.settled_as == {id_: end for id_, (_, _, end) in ids.items()}
            counts = b.counts()
            assert counts.received == len(ids) == counts.delivered + counts.dead

    with tempfile.TemporaryDirectory() as folder, capture_logs():
        asyncio.run(play(Path(folder)))
    assert {id_: kochava.sent.count(id_) for id_ in ids} == {
        id_: len(failures) + 1 for id_, (_, failures, _) in ids.items()
    }
    for device in "xyz":
        mine = [id_ for id_ in kochava.sent if ids[id_][0] == device]
        assert [id_ for id_, _ in groupby(mine)] == [id_ for id_ in ids if ids[id_][0] == device]
