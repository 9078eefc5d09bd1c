"""One message, or one postback of Kochava's, through the same code as in delivery, and what each
stage said of it; nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.clock import SystemClock
from proxy.config import Config, Identities
from proxy.database import open_for_reading
from proxy.decode import UNREADABLE, parse_time
from proxy.errors import RequestRefused
from proxy.event import Event
from proxy.identities.known import KnownDevices
from proxy.mapping.plugins import Plugins
from proxy.pipeline import Pipeline
from proxy.postback import spellings
from proxy.receive.intake import Batch, new_message_id, take_batch
from proxy.receive.postbacks import take_postback
from proxy.receive.slices import at_once
from proxy.states import Decision, Deliver, Fail, Filter, Hold, Outgoing

#: The header that holds a key as it is, unlike a signature.
_WITH_A_KEY: Final = "Authorization"


class Stage(msgspec.Struct):
    """What one stage, or one plugin in it, made of the message."""

    stage: str
    plugin: str
    result: Any


class Explanation(msgspec.Struct):
    """The whole way of a message. `outcome` is deliver, filtered, rejected, or, where a plugin
    broke, dead; of a postback that waits for its device or user held, and `requests` are those that
    it ends with if nothing more becomes known.
    """

    source: str
    message_id: str
    stages: list[Stage]
    outcome: str
    reason: str
    requests: list[dict[str, Any]]


def explain_message(
    config: Config, base: Path, plugins: Plugins, source: str, raw: bytes
) -> Explanation:
    """One message, from the door to the request."""
    batch = Batch(batch=[msgspec.Raw(raw)])
    # Only Segment's webhook may ask for a user to be forgotten.
    deletions = any(each.name == source and each.webhook_token for each in config.sources)
    intake = at_once(
        take_batch(batch, source, _received_at(raw), None, new_message_id, deletions=deletions)
    )
    if intake.rejected:
        reason = next(iter(intake.rejected))
        return _rejected(source, reason, reason)
    event = intake.events[0]
    stages = [Stage("receive", "", "accepted")]
    config = msgspec.structs.replace(config, identities=Identities(hold_seconds=0))
    return _explained(event, stages, _decide(event, config, base, plugins, stages))


def explain_postback(
    config: Config, base: Path, plugins: Plugins, source: str, given: Mapping[str, str]
) -> Explanation:
    """One postback by its parameters, as if it came now."""
    try:
        event = take_postback(source, given, spellings(config.postbacks.parameters), time.time())
    except RequestRefused as refused:
        return _rejected(source, refused.code, refused.message)
    stages = [Stage("receive", "", "accepted")]
    decision = _decide(event, config, base, plugins, stages)
    if not isinstance(decision, Hold):
        return _explained(event, stages, decision)
    patient_no_more = msgspec.structs.replace(
        config.postbacks, hold_seconds=0.0, user_hold_seconds=0.0
    )
    config = msgspec.structs.replace(config, postbacks=patient_no_more)
    later: list[Stage] = []
    result = _explained(event, stages, _decide(event, config, base, plugins, later))
    stages += [stage for stage in later if stage.stage == "encode"]  # the rest was shown
    if result.outcome == "deliver":
        result.outcome, result.reason = "held", decision.reason
    return result


def _decide(
    event: Event, config: Config, base: Path, plugins: Plugins, stages: list[Stage]
) -> Decision:
    """What delivery would, and into `stages` what each of them said."""
    clock = SystemClock()
    pipeline = Pipeline(
        plugins,
        config,
        KnownDevices(_reader(base / config.spool.path), None, clock),
        clock,
        trace=lambda stage, result: stages.append(Stage(stage, "", _plain(result))),
    )
    with plugins.listening(lambda hook, name, said: stages.append(Stage(hook, name, _plain(said)))):
        return pipeline.prepare(event).decision


def _rejected(source: str, reason: str, said: str) -> Explanation:
    return Explanation(source, "", [Stage("receive", "", said)], "rejected", reason, [])


def _explained(event: Event, stages: list[Stage], decision: Decision) -> Explanation:
    source, id_ = event.source, event.message_id
    match decision:
        case Deliver(planned):
            requests = [_request(each.outgoing) for each in planned]
            return Explanation(source, id_, stages, "deliver", "", requests)
        case Filter(reason):
            return Explanation(source, id_, stages, "filtered", reason, [])
        case Fail(reason, detail):
            stages.append(Stage("failure", "", detail))
            return Explanation(source, id_, stages, "dead", reason, [])
        case _:
            raise AssertionError("the source was taken from the config")


def _request(outgoing: Outgoing) -> dict[str, Any]:
    return {
        "method": outgoing.method,
        "url": outgoing.url,
        "headers": _shown(outgoing.headers),
        "body": msgspec.json.decode(outgoing.body),
    }


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: "(redacted)" if name == _WITH_A_KEY else value for name, value in headers.items()}


def _received_at(raw: bytes) -> float:
    """When it would have been received. Read offline, a message is not late: it came when it was
    received before, or else when it was sent.
    """
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except UNREADABLE:
        return time.time()  # the door will refuse it
    moments: list[datetime | None] = [
        parse_time(fields.get(key)) for key in ("receivedAt", "sentAt")
    ]
    return next((moment.timestamp() for moment in moments if moment), time.time())


def _reader(path: Path) -> Any:
    """Looks up devices in the spool's file, if there is one."""
    if not path.exists():
        return lambda *_: []
    connection = open_for_reading(path)
    return lambda statement, values: list(connection.execute(statement, tuple(values)))


def _plain(value: Any) -> Any:
    """A value as JSON can show it: structs as objects, bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates are no text
    if isinstance(value, Outgoing):
        value = msgspec.structs.replace(value, headers=_shown(value.headers))
    if isinstance(value, msgspec.Struct):
        return {key: _plain(each) for key, each in msgspec.structs.asdict(value).items()}
    return value
