"""Golden files: one mapping rule each, as what a client posts and what Kochava gets; or as what
Kochava posts and what Segment gets.

To add one, drop a file into `golden/` and name it in a row of docs/mapping.md. Its keys:

    message     what the client posts; received at 2026-01-01T00:00:00Z unless `batch` says more
    requests    what Kochava gets: `body` in full, `url` if it is not that of events and installs,
                `headers` where they matter; or instead of requests:
    filtered    the reason for which nothing is sent
    rejected    the reason for which the message is refused at the door

    source      what differs from the source in tests/support.py
    config      further tables of config.toml
    ip          the address that the connection comes from
    batch       what stands beside the message in its batch (sentAt, context, integrations)
    before      messages of the same source that were delivered earlier

Of a postback, in place of `message`, `requests` and what belongs to them:

    postback    its parameters as they come; received at the same time, with the id "p-1"
    identity    the user of its device, if that is known
    track       what Segment gets, as a `SegmentTrack`
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from proxy.config import Config
from proxy.errors import Filtered
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.kochava import SegmentTrack
from proxy.mapping.plugins import Plugins, load_plugins
from proxy.pipeline import Pipeline
from proxy.postback import read_fields, spellings
from proxy.receive.intake import Intake, new_message_id, read_batch, take_batch
from proxy.receive.slices import at_once
from proxy.segment import Identity, Postback
from proxy.states import Decision, Deliver, Filter
from tests.support import NOW, FakeClock, make_config

FOLDER = Path(__file__).parent / "golden"
NAMES = sorted(file.stem for file in FOLDER.iterdir())
TRACK_URL = "https://control.kochava.com/track/json"
SEGMENT = "Segment"


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    body: dict[str, Any]
    url: str = TRACK_URL
    headers: dict[str, str] = {}


class Golden(msgspec.Struct, forbid_unknown_fields=True):
    message: dict[str, Any] = {}
    requests: list[Expected] = []
    filtered: str = ""
    rejected: str = ""
    source: dict[str, Any] = {}
    config: dict[str, Any] = {}
    ip: str | None = None
    batch: dict[str, Any] = {}
    before: list[dict[str, Any]] = []
    postback: dict[str, str] = {}
    identity: Identity | None = None
    track: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if sum(map(bool, (self.requests, self.filtered, self.rejected, self.track))) != 1:
            raise ValueError("a golden file has one of: requests, filtered, rejected, track")
        if bool(self.message) == bool(self.postback):
            raise ValueError("a golden file has one of: message, postback")


class Result(msgspec.Struct):
    """What became of a message, from delivery's pipeline or from `explain --json`."""

    outcome: str
    reason: str
    requests: list[dict[str, Any]]


def load(name: str) -> Golden:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Golden)


def make_pipeline(config: Config, base: Path) -> Pipeline:
    known = KnownDevices(lambda *_: [], None, FakeClock())
    return Pipeline(load_plugins(config, base), config, known, FakeClock())


def map_golden(golden: Golden, base: Path = FOLDER) -> Result:
    """Through the door and the pipeline, as in delivery; `base` may hold a drop-in folder."""
    config = make_config(golden.source, **golden.config)
    if golden.postback:
        return map_postback(config, load_plugins(config, base), golden.postback, golden.identity)
    pipeline = make_pipeline(config, base)
    for earlier in golden.before:
        pipeline.prepare(_event(_take(earlier, {}, None)))
    taken = _take(golden.message, golden.batch, golden.ip)
    if taken.rejected:
        return Result("rejected", next(iter(taken.rejected)), [])
    return _result(pipeline.prepare(_event(taken)).decision)


def map_postback(
    config: Config, plugins: Plugins, given: dict[str, str], identity: Identity | None
) -> Result:
    """Through the plugins alone: what becomes of their answer does not depend on the mapping."""
    names = spellings(config.postbacks.parameters)
    postback = Postback(
        message_id="p-1",
        received_at=datetime.fromtimestamp(NOW, UTC),
        fields=read_fields(msgspec.json.encode(given), names),
    )
    source = config.sources[0].public()
    try:
        track = plugins.hook.map_postback(postback=postback, source=source, identity=identity)
    except Filtered as filtered:
        return Result("filtered", filtered.reason, [])
    if track is None:
        return Result("filtered", "unmapped", [])
    assert isinstance(track, SegmentTrack)
    said = {key: value for key, value in msgspec.structs.asdict(track).items() if value}
    return Result("deliver", "", [{"url": SEGMENT, "headers": {}, "body": said}])


def check(golden: Golden, result: Result) -> None:
    """Fails with what differs, down to the type of a number."""
    outcome = next(each for each in ("filtered", "rejected", "deliver") if _meant(golden, each))
    assert (result.outcome, result.reason) == (outcome, golden.filtered or golden.rejected)
    wanted = [Expected(golden.track, SEGMENT)] if golden.track else golden.requests
    assert [each["url"] for each in result.requests] == [each.url for each in wanted]
    for request, expected in zip(result.requests, wanted, strict=True):
        assert _text(request["body"]) == _text(expected.body)
        assert expected.headers.items() <= request["headers"].items()


def _meant(golden: Golden, outcome: str) -> bool:
    return outcome == "deliver" or bool(getattr(golden, outcome))


def _text(body: object) -> str:
    """JSON in one order: unlike Python's values, 1, 1.0 and true differ; lines can be compared."""
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False)


def _take(message: dict[str, Any], batch: dict[str, Any], ip: str | None) -> Intake:
    body = msgspec.json.encode({**batch, "batch": [message]})
    return at_once(take_batch(at_once(read_batch(body)), "acme", NOW, ip, new_message_id))


def _event(taken: Intake) -> Event:
    (event,) = taken.events
    return event


def _result(decision: Decision) -> Result:
    if isinstance(decision, Deliver):
        requests = [
            {**msgspec.structs.asdict(each.outgoing), "body": json.loads(each.outgoing.body)}
            for each in decision.requests
        ]
        return Result("deliver", "", requests)
    return Result("filtered" if isinstance(decision, Filter) else "dead", decision.reason, [])
