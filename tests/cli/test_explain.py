"""One message through every stage; nothing is sent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from proxy.clock import SystemClock
from proxy.database import Database
from proxy.identities.known import KnownDevices
from tests.cli.conftest import Cli
from tests.support import IOS_DEVICE, make_message

PURCHASE: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "u-1",
    "timestamp": "2026-01-01T00:00:00Z",
    "properties": {"revenue": "9.99"},
    "context": {"device": IOS_DEVICE, "userAgent": "Mozilla/5.0"},
}
AUDIENCE = {"type": "identify", "userId": "u-1", "traits": {}}


def text(**fields: Any) -> str:
    return json.dumps({**PURCHASE, **fields})


def test_the_document_is_that_of_the_contract(cli: Cli) -> None:
    found = cli.json("explain", stdin=text())
    assert list(found) == ["source", "message_id", "stages", "outcome", "reason", "requests"]
    assert all(list(stage) == ["stage", "plugin", "result"] for stage in found["stages"])
    assert (found["source"], found["message_id"]) == ("acme", "m-1")
    assert (found["outcome"], found["reason"]) == ("deliver", "")
    (request,) = found["requests"]
    assert (request["method"], request["url"]) == (
        "POST", "https://control.kochava.com/track/json",
    )  # fmt: skip
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["body"]["kochava_app_id"] == "koacme-ios"
    assert request["body"]["data"]["event_name"] == "Purchase"
    assert request["body"]["data"]["event_data"]["sum"] == 9.99


def test_the_stages_say_which_plugin_said_what(cli: Cli) -> None:
    cli.plugin("vip.py", "@hookimpl\ndef map_track(message): return None\n")
    stages = cli.json("explain", stdin=text())["stages"]
    assert [(stage["stage"], stage["plugin"]) for stage in stages] == [
        ("receive", ""),
        ("decode", ""),
        ("drop_reason", "plugins/filters.py"),
        ("campaign_context", "plugins/iad_campaign.py"),
        ("map_track", "vip.py"),
        ("map_track", "plugins/track.py"),
        ("join", ""),
        ("encode", ""),
    ]
    assert stages[1]["result"]["event"] == "Order Completed"
    assert stages[4]["result"] is None
    assert stages[5]["result"]["action"] == "event"


@pytest.mark.parametrize(
    ("fields", "outcome", "reason", "code"),
    [
        ({"integrations": {"All": False}}, "filtered", "integrations", 0),
        ({"context": {"device": {"id": "x"}}}, "filtered", "unknown_platform", 0),
        ({"type": "group", "groupId": "g"}, "filtered", "unmapped", 0),
        ({"event": None}, "rejected", "event_not_defined", 1),
        ({"userId": None}, "rejected", "no_user_anon_id", 1),
        ({"type": None}, "rejected", "missing_type", 1),
        ({"properties": []}, "rejected", "properties_not_object", 1),
        ({"properties": {"x": "x" * 32_768}}, "rejected", "message_too_large", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_delivered_says_why(
    cli: Cli, fields: dict[str, Any], outcome: str, reason: str, code: int
) -> None:
    found = cli.json("explain", stdin=text(**fields), code=code)
    assert (found["outcome"], found["reason"], found["requests"]) == (outcome, reason, [])


@pytest.mark.parametrize(
    ("where", "outcome", "code"),
    [(b'"event": "', "rejected", 1), (b'"unheard_of": "', "deliver", 0)],
    ids=["in what is read", "in what nobody reads"],
)
def test_bytes_that_are_no_text_meet_the_same_fate_as_at_the_door(
    cli: Cli, where: bytes, outcome: str, code: int
) -> None:
    raw = text(unheard_of="x").encode().replace(where, where + b"\xff")
    assert cli.json("explain", stdin=raw, code=code)["outcome"] == outcome


@pytest.mark.parametrize(
    "body",
    [
        "return 1 / 0",
        "return 5",
        "return event(data={('a', 1): {2}, 'u': '\\ud800', 'o': object(), 'b': b'x'})",
        "return event(data=None)",
        "return IdentityLink(device_id={'idfa': ['x']}, kochava_app_id='k', data={1: object()})",
    ],
    ids=["raises", "wrong type", "no JSON", "no data", "odd link"],
)
def test_a_plugin_that_breaks_is_shown_at_fault(cli: Cli, body: str) -> None:
    event = "partial(KochavaRequest, action='event', kochava_app_id='k', kochava_device_id='d')"
    head = f"from functools import partial\nevent = {event}\n"
    cli.plugin("vip.py", f"{head}@hookimpl\ndef map_track(message):\n    {body}\n")
    found = cli.json("explain", stdin=text(), code=1)
    assert found["outcome"] == "dead"
    assert found["stages"][-1]["stage"] == "failure"
    assert "vip.py" in [stage["plugin"] for stage in found["stages"]]
    assert "=> dead" in cli_text(cli)


def cli_text(cli: Cli) -> str:
    """What people see; a traceback is meant here: it is the plugin's."""
    return cli("explain", stdin=text(), code=1).stdout


def test_a_request_of_each_kind_is_shown_to_people(cli: Cli) -> None:
    lines = cli("explain", stdin=text()).stdout.splitlines()
    assert lines[0] == "receive: accepted"
    assert "campaign_context plugins/iad_campaign.py: -" in lines
    after = lines[lines.index("=> deliver") :]
    assert after[1] == "POST https://control.kochava.com/track/json"
    assert "    Content-Type: application/json" in after
    body = msgspec.json.decode("".join(after[after.index("    {") :]).encode())
    assert body["data"]["event_name"] == "Purchase"


def test_a_message_comes_from_a_file_or_from_standard_input(cli: Cli) -> None:
    message = text(receivedAt="2026-01-01T00:00:01Z")
    (cli.folder / "m.json").write_text(message, encoding="utf-8")
    found = cli.json("explain", "m.json")
    assert cli.json("explain", "-", stdin=message) == found
    assert cli.json("explain", stdin=message) == found


@pytest.mark.parametrize(
    ("arguments", "key", "source"),
    [
        ([], None, "acme"),
        ([], "wk_other", "other"),
        ([], "wk_unknown", "acme"),
        ([], 5, "acme"),
        (["--source", "other"], None, "other"),
        (["--source", "acme"], "wk_other", "acme"),
    ],
    ids=["the first", "by its key", "unknown key", "key that is none", "named", "named over key"],
)
def test_the_source_is_the_one_named_else_of_its_key_else_the_first(
    cli: Cli, arguments: list[str], key: object, source: str
) -> None:
    assert cli.json("explain", *arguments, stdin=text(writeKey=key))["source"] == source


def test_an_unknown_source_is_bad_use_that_names_those_there_are(cli: Cli) -> None:
    stderr = cli("explain", "--source", "acne", stdin=text(), code=2).stderr
    assert "no source 'acne'; there are: acme, other" in stderr


@pytest.mark.parametrize(
    ("stdin", "what"),
    [
        ("", "the body is not JSON"),
        ("{", "the body is not JSON"),
        ("[]", "a message is an object"),
        ("5", "a message is an object"),
        ('{"x":' + "[" * 5_000 + "]" * 5_000 + "}", "nested too deeply"),
    ],
    ids=["nothing", "cut off", "list", "number", "deep"],
)
def test_what_is_no_message_is_bad_use(cli: Cli, stdin: str, what: str) -> None:
    assert what in cli("explain", stdin=stdin, code=2).stderr


def test_nothing_is_stored_or_learnt(cli: Cli) -> None:
    cli("explain", stdin=text())
    assert sorted(path.name for path in cli.folder.iterdir()) == ["config.toml"]
    assert cli.json("explain", stdin=json.dumps(AUDIENCE))["reason"] == "no_device_id"


async def test_devices_are_those_that_a_running_proxy_knows(cli: Cli, database: Database) -> None:
    known = KnownDevices(database.read, database, SystemClock())
    known.learn("acme", make_message(user_id="u-1", context={"device": IOS_DEVICE}))
    await database.write(lambda _: None)  # behind what was learnt
    found = cli.json("explain", stdin=json.dumps(AUDIENCE))
    assert [request["url"] for request in found["requests"]] == [
        "https://control.kochava.com/v1/cpi/identityLink.php"
    ]
    ids = {"idfa": IOS_DEVICE["advertisingId"], "idfv": IOS_DEVICE["id"]}
    assert found["requests"][0]["body"]["device_id"] == ids


def test_keys_are_shown_only_where_they_sign(cli: Cli) -> None:
    """The requests are the exact ones, so a signature is there; the secret itself never is."""
    config = cli.folder / "config.toml"
    signed = 'kochava_api_key = "key-1"\nkochava_secret = "hush-hush"\n[[sources]]\nname = "other"'
    good = config.read_text(encoding="utf-8")
    config.write_text(good.replace('[[sources]]\nname = "other"', signed), encoding="utf-8")
    result = cli("explain", "--json", stdin=text())
    headers = json.loads(result.stdout)["requests"][0]["headers"]
    assert headers["Kochava-Api-Key"] == "key-1"
    assert "hush-hush" not in result.output


def test_a_request_to_forget_a_user_is_taken_where_the_webhook_takes_it(cli: Cli) -> None:
    delete = json.dumps({"type": "delete", "userId": "u-1", "messageId": "m-1"})
    refused = cli.json("explain", stdin=delete, code=1)
    assert (refused["outcome"], refused["reason"]) == ("rejected", "invalid_type")
    config = cli.folder / "config.toml"
    config.write_text(config.read_text().replace('"wk_acme"', '"wk_acme"\nwebhook_token = "hook"'))
    taken = cli.json("explain", stdin=delete)
    assert (taken["outcome"], taken["reason"]) == ("filtered", "deletion")
