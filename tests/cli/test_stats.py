from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from proxy.spool.sqlite import SqliteSpool
from proxy.states import Settlement
from tests.cli.conftest import Cli
from tests.support import make_event

KEYS = {"received", "rejected", "duplicate", "filtered", "pending", "delivered", "dead",
        "oldest_pending_seconds"}  # fmt: skip


async def fill(spool: SqliteSpool) -> None:
    """One of each fate, and one that was there already."""
    events = [make_event({"type": "track"}, f"m-{number}") for number in range(4)]
    await spool.append("acme", [*events, events[0]], {"no_user_anon_id": 2})
    leased = await spool.lease(3)
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
