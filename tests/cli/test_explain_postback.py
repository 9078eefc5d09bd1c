"""One postback of Kochava's through every stage; nothing is sent."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from proxy.clock import SystemClock
from proxy.database import Database
from proxy.identities.known import KnownDevices
from tests.cli.conftest import Cli
from tests.support import IOS_DEVICE, make_message

DEVICE = IOS_DEVICE["id"]
GIVEN = {
    "event_name": "_install",
    "kochava_device_id": str(DEVICE),
    "idfa": "{idfa}",
    "network_name": "Käse & Co",
}
QUERY = urlencode(GIVEN)
KEYS = 'postback_token = "pb-{0}"\nsegment_write_key = "hush-{0}"\n'


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """Its sources take postbacks."""
    config = cli.folder / "config.toml"
    text = config.read_text(encoding="utf-8")
    for name in ("acme", "other"):
        text = text.replace(f'name = "{name}"\n', f'name = "{name}"\n' + KEYS.format(name))
    config.write_text(text, encoding="utf-8")
    return cli


def explain(cli: Cli, stdin: str = QUERY, *options: str, code: int = 0) -> Any:
    return cli.json("explain", "--postback", *options, stdin=stdin, code=code)


async def learn(database: Database, **fields: Any) -> None:
    known = KnownDevices(database.read, database, SystemClock())
    known.learn("acme", make_message(context={"device": IOS_DEVICE}, **fields))
    await database.write(lambda _: None)  # behind what was learnt


async def test_that_of_a_known_user_is_shown_as_segment_would_get_it(
    cli: Cli, database: Database
) -> None:
    await learn(database, user_id="u-1", anonymous_id="a-1")
    found = explain(cli)
    assert list(found) == ["source", "message_id", "stages", "outcome", "reason", "requests"]
    assert (found["source"], found["outcome"], found["reason"]) == ("acme", "deliver", "")
    assert found["message_id"].startswith("kochava-")
    assert [(stage["stage"], stage["plugin"]) for stage in found["stages"]] == [
        ("receive", ""),
        ("decode", ""),
        ("join", ""),
        ("map_postback", "plugins/postback.py"),
        ("encode", ""),
    ]
    assert found["stages"][1]["result"]["fields"]["network"] == "Käse & Co"
    assert found["stages"][2]["result"] == {"user_id": "u-1", "anonymous_id": "a-1"}
    [request] = found["requests"]
    assert (request["method"], request["url"]) == ("POST", "https://api.segment.io/v1/track")
    body = request["body"]
    assert (body["event"], body["messageId"]) == ("Install Attributed", found["message_id"])
    assert (body["userId"], body["anonymousId"]) == ("u-1", "a-1")
    assert body["properties"]["campaign"] == {"source": "Käse & Co"}


async def test_every_form_is_the_same_postback(cli: Cli, database: Database) -> None:
    await learn(database, user_id="u-1")
    forms = [
        "?" + QUERY,
        QUERY + "\n",
        json.dumps(GIVEN),
        json.dumps(GIVEN, indent=2),
        f"https://events.example.com/postbacks/kochava/pb-acme?{QUERY}",
        f"HTTPS://events.example.com/behind/another/pb-acme?{QUERY}",
        f"/postbacks/kochava/pb-acme?{QUERY}",
    ]
    bodies = [explain(cli, form)["requests"][0]["body"] for form in forms]
    assert all(_without_time(body) == _without_time(bodies[0]) for body in bodies)


def _without_time(body: dict[str, Any]) -> dict[str, Any]:
    """No event time is given: it is that of the arrival."""
    return {key: value for key, value in body.items() if key != "timestamp"}


@pytest.mark.parametrize(
    ("owner", "reason", "seconds", "anonymous_id"),
    [
        ({}, "device_not_seen_yet", 600.0, DEVICE),
        ({"anonymous_id": "a-1"}, "user_not_known_yet", 30.0, "a-1"),
    ],
    ids=["nobody", "visitor"],
)
async def test_one_that_waits_is_shown_with_what_it_ends_as(
    cli: Cli,
    database: Database,
    owner: dict[str, str],
    reason: str,
    seconds: float,
    anonymous_id: str,
) -> None:
    if owner:
        await learn(database, **owner)
    found = explain(cli)
    assert (found["outcome"], found["reason"]) == ("held", reason)
    assert [stage["stage"] for stage in found["stages"]] == [
        "receive", "decode", "join", "map_postback", "hold", "encode",
    ]  # fmt: skip
    assert found["stages"][4]["result"] == {"reason": reason, "up_to_seconds": seconds}
    [request] = found["requests"]
    assert (request["body"]["anonymousId"], request["body"].get("userId")) == (anonymous_id, None)
    lines = cli("explain", "--postback", stdin=QUERY).stdout.splitlines()
    assert f"=> held ({reason})" in lines
    assert "POST https://api.segment.io/v1/track" in lines


@pytest.mark.parametrize(
    ("given", "outcome", "reason", "code"),
    [
        ("event_name=Purchase&adid=a-1", "filtered", "unmapped", 0),
        ("network=n", "filtered", "no_device_id", 0),
        ("", "rejected", "bad_request", 1),
        ("idfa={idfa}&adid=", "rejected", "bad_request", 1),
        ("a=" + "x" * 32_768, "rejected", "payload_too_large", 1),
    ],
    ids=["event", "no device", "nothing", "macros", "too long"],
)
def test_what_is_not_sent_says_why(
    cli: Cli, given: str, outcome: str, reason: str, code: int
) -> None:
    found = explain(cli, given, code=code)
    assert (found["outcome"], found["reason"], found["requests"]) == (outcome, reason, [])


@pytest.mark.parametrize(
    ("body", "said"), [("return 1 / 0", "ZeroDivisionError"), ("return 5", "int")]
)
def test_a_plugin_that_breaks_is_shown_at_fault(cli: Cli, body: str, said: str) -> None:
    cli.plugin("vip.py", f"@hookimpl\ndef map_postback(postback):\n    {body}\n")
    found = explain(cli, code=1)
    assert (found["outcome"], found["reason"]) == ("dead", "plugin_error:vip.py")
    assert found["stages"][-1]["stage"] == "failure"
    assert said in found["stages"][-1]["result"]


def test_one_that_cannot_be_encoded_is_not_said_to_wait(cli: Cli) -> None:
    cli.plugin("vip.py", "@hookimpl\ndef map_postback(): return SegmentTrack(event='', "
               "message_id='m', user_id='u', properties={})\n")  # fmt: skip
    assert explain(cli, code=1)["reason"] == "not_encodable"


@pytest.mark.parametrize(
    ("stdin", "options", "source"),
    [
        (QUERY, [], "acme"),
        (f"/postbacks/kochava/pb-other?{QUERY}", [], "other"),
        (f"/postbacks/kochava/unknown?{QUERY}", [], "acme"),
        (QUERY, ["--source", "other"], "other"),
        (f"/postbacks/kochava/pb-acme?{QUERY}", ["--source", "other"], "other"),
    ],
    ids=["the first", "by its token", "unknown token", "named", "named over token"],
)
def test_the_source_is_the_one_named_else_of_its_token_else_the_first(
    cli: Cli, stdin: str, options: list[str], source: str
) -> None:
    assert explain(cli, stdin, *options)["source"] == source


def test_a_source_without_a_token_takes_none(cli: Cli) -> None:
    config = cli.folder / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('postback_token = "pb-acme"', ""), encoding="utf-8")
    assert explain(cli)["source"] == "other"
    said = cli("explain", "--postback", "--source", "acme", stdin=QUERY, code=2).stderr
    assert "'acme' takes no postbacks: set its postback_token" in said
    config.write_text(
        text.replace('postback_token = "pb-acme"', "").replace('postback_token = "pb-other"', ""),
        encoding="utf-8",
    )
    said = cli("explain", "--postback", stdin=QUERY, code=2).stderr
    assert "no source takes postbacks" in said


@pytest.mark.parametrize("stdin", ["{", "[1]", "just words", "<a>=1", "http://[x?a=1"], ids=str)
def test_what_is_no_postback_is_bad_use(cli: Cli, stdin: str) -> None:
    assert "Usage" in cli("explain", "--postback", stdin=stdin, code=2).stderr


def test_it_comes_from_a_file_too(cli: Cli) -> None:
    (cli.folder / "p.txt").write_text(QUERY, encoding="utf-8")
    assert cli.json("explain", "--postback", "p.txt")["outcome"] == "held"


def test_no_key_and_no_token_is_shown(cli: Cli) -> None:
    for options in ([], ["--json"]):
        url = f"https://h/postbacks/kochava/pb-acme?{QUERY}"
        result = cli("explain", "--postback", *options, stdin=url)
        assert "Authorization" in result.output
        assert "(redacted)" in result.output
        assert "Basic" not in result.output
        assert "pb-acme" not in result.output


def test_nothing_is_stored(cli: Cli) -> None:
    explain(cli)
    assert sorted(path.name for path in cli.folder.iterdir()) == ["config.toml"]
