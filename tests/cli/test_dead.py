from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from proxy.event import Event
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Outcome, Outgoing, Settlement
from tests.cli.conftest import Cli
from tests.spool.helpers import lease_now
from tests.support import NOW, make_event

MESSAGE = {"type": "track", "event": "A", "userId": "u"}
KEYS = {"id", "source", "message_id", "type", "received_at", "died_at", "attempts", "reason",
        "detail", "request", "response", "message"}  # fmt: skip


async def bury(spool: SqliteSpool, *letters: tuple[Event, Settlement]) -> None:
    for event, settlement in letters:
        await spool.append(event.source, [event], {})
        (leased,) = lease_now(spool, 1)
        await spool.settle(leased, settlement)


@pytest.fixture
async def refused(spool: SqliteSpool) -> None:
    """Three dead letters: one that Kochava refused, one of a plugin, one that cannot be read."""
    headers = {"Content-Type": "application/json", "Kochava-Auth-Token": "hush-hush"}
    request = Outgoing("POST", "https://control.kochava.com/track/json", headers, b'{"a":1}')
    answer = Outcome("refused", "success_not_1", 200, '{"success":0}')
    broken = Event("other", "m-3", "track", NOW, b"{}", b'{"torn": \xff')
    await bury(
        spool,
        (make_event(MESSAGE, "m-1"), Settlement("dead", "success_not_1", "", request, answer)),
        (
            make_event(MESSAGE, "m-2"),
            Settlement("dead", "plugin_error:vip.py", "...\nKeyError: 'x'\n"),
        ),
        (broken, Settlement("dead", "undecodable", "bad_request")),
    )


@pytest.mark.usefixtures("refused")
def test_the_list_is_newest_first_and_can_be_narrowed(cli: Cli) -> None:
    def ids(*options: str) -> list[str]:
        return [letter["message_id"] for letter in cli.json("dead", "list", *options)["dead"]]

    assert ids() == ["m-3", "m-2", "m-1"]
    assert ids("--source", "acme") == ["m-2", "m-1"]
    assert ids("--reason", "success_not_1") == ["m-1"]
    assert ids("--source", "other", "--reason", "success_not_1") == []
    assert ids("--limit", "1") == ["m-3"]


@pytest.mark.usefixtures("refused")
def test_people_get_one_line_each_ending_in_what_went_wrong(cli: Cli) -> None:
    lines = cli("dead", "list").stdout.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [
        ["other", "track", "undecodable", "bad_request"],
        ["acme", "track", "plugin_error:vip.py", "KeyError: 'x'"],
        ["acme", "track", "success_not_1", ""],
    ]


@pytest.mark.usefixtures("refused")
def test_one_letter_is_shown_whole_and_without_keys(cli: Cli) -> None:
    letter_id = cli.json("dead", "list", "--reason", "success_not_1")["dead"][0]["id"]
    result = cli("dead", "show", str(letter_id))
    letter = json.loads(result.stdout)
    assert set(letter) == KEYS
    assert letter["message"] == MESSAGE
    assert letter["request"]["url"] == "https://control.kochava.com/track/json"
    assert json.loads(letter["request"]["body"]) == {"a": 1}
    assert (letter["response"]["status"], letter["response"]["body"]) == (200, '{"success":0}')
    assert "hush-hush" not in result.output


@pytest.mark.usefixtures("refused")
def test_a_message_that_is_no_json_is_shown_as_text(cli: Cli) -> None:
    (letter,) = cli.json("dead", "list", "--source", "other")["dead"]
    assert letter["message"] == '{"torn": \ufffd'
    assert json.loads(cli("dead", "show", str(letter["id"])).stdout) == letter


def test_there_are_none_where_there_is_no_file(cli: Cli) -> None:
    assert cli.json("dead", "list") == {"dead": []}
    assert cli("dead", "list").output == ""


def test_a_letter_that_is_not_there_is_a_bad_answer(cli: Cli) -> None:
    assert cli("dead", "show", "9", code=1).stderr == "there is no dead letter 9\n"


class TestReplay:
    @pytest.mark.usefixtures("refused")
    def test_it_counts_first_and_does_nothing_unless_told_to(self, cli: Cli) -> None:
        for command in ("replay", "purge"):
            said = cli("dead", command, stdin="n\n").stdout
            assert "3 dead letters" in said
        assert len(cli.json("dead", "list")["dead"]) == 3

    @pytest.mark.usefixtures("refused")
    async def test_what_is_replayed_is_pending_again_in_its_order(
        self, cli: Cli, spool: SqliteSpool
    ) -> None:
        said = await asyncio.to_thread(
            cli, "dead", "replay", "--source", "acme", "--yes", "--rate", "1000"
        )
        assert "2 of 2 done" in said.stdout
        assert [each["message_id"] for each in cli.json("dead", "list")["dead"]] == ["m-3"]
        found = cli.json("stats")
        counts = found["sources"]["acme"]
        assert (counts["pending"], counts["dead"], found["balanced"]) == (2, 0, True)
        assert lease_now(spool) == []  # until it looks
        spool.look()
        (first,) = lease_now(spool)
        assert (first.event.message_id, first.attempts) == ("m-1", 0)
        await spool.settle(first, Settlement("delivered"))
        assert [each.event.message_id for each in lease_now(spool)] == ["m-2"]

    @pytest.mark.usefixtures("refused")
    def test_it_can_be_narrowed_by_reason_and_time(self, cli: Cli) -> None:
        tomorrow = datetime.fromtimestamp(NOW + 86_400, UTC).strftime("%Y-%m-%d")
        assert "0 dead letters" in cli("dead", "replay", "--since", tomorrow, "--yes").stdout
        chosen = ("--until", tomorrow, "--reason", "success_not_1")
        assert "1 of 1 done" in cli("dead", "replay", *chosen, "--yes").stdout
        assert cli.json("stats")["sources"]["acme"]["pending"] == 1


@pytest.mark.usefixtures("refused")
def test_what_is_purged_is_gone_and_still_counted(cli: Cli) -> None:
    assert "2 of 2 done" in cli("dead", "purge", "--source", "acme", "--yes").stdout
    assert [each["message_id"] for each in cli.json("dead", "list")["dead"]] == ["m-3"]
    found = cli.json("stats")
    assert (found["sources"]["acme"]["dead"], found["balanced"]) == (2, True)


@pytest.mark.usefixtures("refused")
def test_on_a_full_disk_letters_can_be_read_and_purged_but_not_replayed(
    cli: Cli, spool: SqliteSpool
) -> None:
    """What is replayed would take the room that is left for results."""
    spool_file = spool._database.path
    spool_file.with_name(spool_file.name + ".reserve").touch()  # it was given up
    said = cli("dead", "replay", "--yes", code=1).output
    assert "the disk is full" in said
    assert "0 of 3 done" in said
    assert len(cli.json("dead", "list")["dead"]) == 3
    assert cli.json("stats")["sources"]["acme"]["dead"] == 2
    assert "3 of 3 done" in cli("dead", "purge", "--yes").stdout


@pytest.mark.usefixtures("refused")
def test_a_replay_that_is_interrupted_leaves_the_rest_where_it_was(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proxy.cli.dead.time.sleep", interrupt)
    said = cli("dead", "replay", "--yes", "--rate", "1", code=1).stdout
    assert "1 of 3 done" in said
    found = cli.json("stats")
    assert (len(cli.json("dead", "list")["dead"]), found["balanced"]) == (2, True)
