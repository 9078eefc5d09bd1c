"""`kochava-proxy explain`: what would become of one message, stage by stage; nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import apsw
import click
import msgspec

from proxy.cli.common import (
    BAD_ANSWER,
    config_option,
    json_option,
    load_or_exit,
    print_json,
    show_and_exit,
)
from proxy.clock import SystemClock
from proxy.config import Config, Identities
from proxy.database import open_for_reading
from proxy.decode import UNREADABLE, parse_time
from proxy.errors import ConfigError, RequestRefused, StorageError
from proxy.identities.known import KnownDevices
from proxy.mapping.plugins import Plugins, load_plugins
from proxy.pipeline import Pipeline
from proxy.receive.intake import Batch, new_message_id, read_message, take_batch
from proxy.receive.slices import at_once
from proxy.states import Deliver, Fail, Filter


class Stage(msgspec.Struct):
    """What one stage, or one plugin in it, made of the message."""

    stage: str
    plugin: str
    result: Any


class Explanation(msgspec.Struct):
    """The whole way of a message. `outcome` is deliver, filtered, rejected, or, where a plugin
    broke, dead.
    """

    source: str
    message_id: str
    stages: list[Stage]
    outcome: str
    reason: str
    requests: list[dict[str, Any]]


@click.command()
@config_option
@click.option(
    "--source",
    "source_name",
    help="The source it comes from; by default its writeKey's, else the first.",
)
@json_option
@click.argument("file", type=click.File("rb"), default="-")
def explain(config_path: Path, source_name: str | None, as_json: bool, file: IO[bytes]) -> None:
    """Take one message from FILE (- for standard input) through every stage; nothing is sent.

    Exits with 1 if the message would be rejected or a plugin breaks on it.
    """
    config = load_or_exit(config_path)
    try:
        plugins = load_plugins(config, config_path.parent)
    except ConfigError as error:
        show_and_exit(error, config_path)
    try:
        raw, key = read_message(file.read())
    except RequestRefused as error:
        name = getattr(file, "name", "<stdin>")  # a stand-in for it may have none
        raise click.UsageError(f"{name}: {error.message}") from None
    name = _source(config, source_name, key)
    try:
        result = explain_message(config, config_path.parent, plugins, name, raw)
    except (StorageError, apsw.Error) as error:
        raise click.ClickException(f"{config.spool.path}: {error}") from None
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result.outcome in ("rejected", "dead"):
        raise SystemExit(BAD_ANSWER)


def explain_message(
    config: Config, base: Path, plugins: Plugins, source: str, raw: bytes
) -> Explanation:
    """One message through the same code as in delivery."""
    stages: list[Stage] = []
    received = _received_at(raw)
    batch = Batch(batch=[msgspec.Raw(raw)])
    # Only Segment's webhook may ask for a user to be forgotten.
    deletions = any(each.name == source and each.webhook_token for each in config.sources)
    intake = at_once(take_batch(batch, source, received, None, new_message_id, deletions=deletions))
    if intake.rejected:
        reason = next(iter(intake.rejected))
        stages.append(Stage("receive", "", reason))
        return Explanation(source, "", stages, "rejected", reason, [])
    event = intake.events[0]
    stages.append(Stage("receive", "", "accepted"))
    clock = SystemClock()
    pipeline = Pipeline(
        plugins,
        msgspec.structs.replace(config, identities=Identities(hold_seconds=0)),
        KnownDevices(_reader(base / config.spool.path), None, clock),
        clock,
        trace=lambda stage, result: stages.append(Stage(stage, "", _plain(result))),
    )
    with plugins.listening(lambda hook, name, said: stages.append(Stage(hook, name, _plain(said)))):
        decision = pipeline.prepare(event).decision
    match decision:
        case Deliver(planned):
            requests = [
                {
                    "method": each.outgoing.method,
                    "url": each.outgoing.url,
                    "headers": each.outgoing.headers,
                    "body": msgspec.json.decode(each.outgoing.body),
                }
                for each in planned
            ]
            return Explanation(source, event.message_id, stages, "deliver", "", requests)
        case Filter(reason):
            return Explanation(source, event.message_id, stages, "filtered", reason, [])
        case Fail(reason, detail):
            stages.append(Stage("failure", "", detail))
            return Explanation(source, event.message_id, stages, "dead", reason, [])
        case _:
            raise AssertionError("the source was taken from the config")


def _source(config: Config, name: str | None, key: object) -> str:
    names = [source.name for source in config.sources]
    if name is None:
        return next((each.name for each in config.sources if key in each.write_keys), names[0])
    if name not in names:
        raise click.BadParameter(f"no source {name!r}; there are: {', '.join(names)}")
    return name


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
    if isinstance(value, msgspec.Struct):
        return {key: _plain(each) for key, each in msgspec.structs.asdict(value).items()}
    return value


def _show(result: Explanation) -> None:
    for stage in result.stages:
        who = f" {stage.plugin}" if stage.plugin else ""
        click.echo(f"{stage.stage}{who}: {_line(stage.result)}")
    click.echo(f"=> {result.outcome}" + (f" ({result.reason})" if result.reason else ""))
    for request in result.requests:
        click.echo(f"{request['method']} {request['url']}")
        for name, value in request["headers"].items():
            click.echo(f"    {name}: {value}")
        print_body: Sequence[str] = (
            msgspec.json.format(msgspec.json.encode(request["body"]), indent=2)
            .decode()
            .splitlines()
        )
        for line in print_body:
            click.echo(f"    {line}")


def _line(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()
