from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import apsw
import msgspec
import pytest

from proxy.appstate import AppState, WorkerState
from proxy.database import Database
from proxy.observe import published
from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.cli.conftest import Cli
from tests.spool.helpers import lease_now
from tests.support import make_event

KEYS = {"received", "rejected", "duplicate", "filtered", "pending", "delivered", "dead",
        "oldest_pending_seconds"}  # fmt: skip


async def fill(spool: SqliteSpool) -> None:
    """One of each fate, and one that was there already."""
    events = [
        msgspec.structs.replace(make_event({"type": "track"}, f"m-{number}"), device=number)
        for number in range(4)
    ]
    await spool.append("acme", [*events, events[0]], {"no_user_anon_id": 2})
    leased = lease_now(spool, 3)
    for each, (state, reason) in zip(
        leased, [("delivered", ""), ("filtered", "consent"), ("dead", "status_400")], strict=True
    ):
        await spool.settle(each, Settlement(state, reason))  # type: ignore[arg-type]  # no Literal


def test_without_a_file_every_source_stands_with_zeros(cli: Cli) -> None:
    found = cli.json("stats")
    assert (set(found["sources"]), found["balanced"]) == ({"acme", "other"}, True)
    assert set(found["sources"]["acme"]) == KEYS
    assert not (cli.folder / "data").exists()


async def test_beside_a_running_proxy_it_shows_what_is_committed(
    cli: Cli, spool: SqliteSpool
) -> None:
    await fill(spool)
    found = cli.json("stats")
    acme = found["sources"]["acme"]
    assert acme.pop("oldest_pending_seconds") > 0
    assert acme == {
        "received": 7, "rejected": {"no_user_anon_id": 2}, "duplicate": 1,
        "filtered": {"consent": 1}, "pending": 1, "delivered": 1, "dead": 1,
    }  # fmt: skip
    assert found["balanced"] is True


async def test_a_source_that_left_the_config_is_still_accounted_for(
    cli: Cli, spool: SqliteSpool
) -> None:
    event = msgspec.structs.replace(make_event({"type": "track"}), source="former")
    await spool.append("former", [event], {})
    assert set(cli.json("stats")["sources"]) == {"acme", "other", "former"}


async def test_a_ledger_that_does_not_balance_is_a_bad_answer(cli: Cli, spool: SqliteSpool) -> None:
    await fill(spool)
    connection = apsw.Connection(str(cli.folder / "data" / "spool.db"))
    connection.execute("DELETE FROM events")
    connection.close()
    assert cli.json("stats", code=1)["balanced"] is False
    assert "NOT BALANCED" in cli("stats", code=1).stdout


async def test_people_read_it_as_an_equation(cli: Cli, spool: SqliteSpool) -> None:
    await fill(spool)
    rows = [line.rsplit(maxsplit=2) for line in cli("stats").stdout.splitlines()]
    read = {row[0].strip(): row[1] for row in rows if len(row) == 3}
    assert {name: read[name] for name in ("received", "rejected", "no_user_anon_id", "duplicate",
            "filtered", "consent", "pending", "delivered", "dead")} == {
        "received": "7", "rejected": "2", "no_user_anon_id": "2", "duplicate": "1",
        "filtered": "1", "consent": "1", "pending": "1", "delivered": "1", "dead": "1",
    }  # fmt: skip


def test_many_sources_or_brackets_in_a_name_cut_nothing_off(cli: Cli) -> None:
    names = [f"source-number-{number}" for number in range(20)] + ["[/red]", "[bold]"]
    Path("config.toml").write_text(
        "".join(
            f'[[sources]]\nname = "{name}"\nwrite_key = "{name}"\nkochava_app_id = "ko"\n'
            for name in names
        ),
        encoding="utf-8",
    )
    assert cli("stats").stdout.splitlines()[0].split() == names


async def publish(database: Database, *workers: list[AppState], pid: int | None = None) -> None:
    """As a running proxy does: this process, if no other is named."""
    states = [
        WorkerState(index, pid or os.getpid(), time.time(), time.time(), apps)
        for index, apps in enumerate(workers)
    ]

    def job(cursor: apsw.Cursor) -> None:
        cursor.execute(published.SCHEMA)
        for each in states:
            row = (each.worker, each.pid, each.at, msgspec.json.encode(each))
            cursor.execute("REPLACE INTO worker_states VALUES (?, ?, ?, ?)", row)

    await database.write(job)


async def test_each_app_is_shown_over_all_workers(cli: Cli, database: Database) -> None:
    one = AppState("koacme-ios", 20, 3, 1, delivered=100, retried=7)
    other = AppState("koacme-ios", 12, 1, 0, paused="status_401", refused=1)
    await publish(database, [one, AppState("koacme-android", limit=20)], [other])
    found = cli.json("stats")
    assert list(found) == ["sources", "balanced", "apps"]
    assert found["apps"]["koacme-ios"] == {
        "app": "koacme-ios", "limit": 32, "in_flight": 4, "ready": 1, "breaker": "closed",
        "rate": None, "paused": "status_401", "delivered": 100, "retried": 7, "refused": 1,
    }  # fmt: skip
    lines = cli("stats").stdout.splitlines()
    ledger, apps = lines[: lines.index("balanced")], lines[lines.index("balanced") + 2 :]
    assert ledger[0].split() == ["acme", "other"]
    assert [line.rstrip().split(maxsplit=6) for line in apps[1:]] == [
        ["koacme-android", "0", "20", "0", "0", "0", "well"],
        ["koacme-ios", "4", "32", "100", "7", "1", "paused: status_401"],
    ]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (AppState("ko", breaker="open", rate=1.0), "breaker open"),
        (AppState("ko", breaker="half_open"), "breaker half-open"),
        (AppState("ko", rate=12.5), "limited: 12.5 a second"),
        (AppState("ko", paused="[/red]", breaker="open"), "paused: [/red]"),
    ],
    ids=["given up", "being tried", "too many requests", "paused"],
)
async def test_people_read_what_keeps_an_app(
    cli: Cli, database: Database, state: AppState, word: str
) -> None:
    await publish(database, [state])
    assert cli("stats").stdout.splitlines()[-1].endswith(word)


async def test_an_app_in_trouble_is_no_bad_ledger(cli: Cli, database: Database) -> None:
    await publish(database, [AppState("ko", paused="status_401", breaker="open")])
    cli("stats", code=0)


async def test_without_a_running_proxy_there_is_nothing_to_tell_of_apps(
    cli: Cli, database: Database
) -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    await publish(database, [AppState("koacme-ios")], pid=ended.pid)
    assert list(cli.json("stats")) == ["sources", "balanced"]
    assert cli("stats").stdout.splitlines()[-1] == "balanced"
