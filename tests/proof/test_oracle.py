"""The oracle objects to whatever is wrong, and to nothing else: made-up histories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.proof.oracle import Acknowledged, Device, Fate, History, Request, objections

ONE, OTHER = ("acme", "one"), ("acme", "other")


def message(id_: str, fate: Fate = "delivered", device: Device = ONE) -> Acknowledged:
    return Acknowledged(id_, fate, device, {"id": id_})


def request(id_: str, began: float, *, final: bool = True, success: bool = True) -> Request:
    success = success and final
    return Request(id_, "app", {"id": id_}, began, began + 0.5, "", final, success)


def sound() -> History:
    """All that may happen: a retry, a refusal, a repeat after a crash, another device between."""
    return History(
        acknowledged=[
            message("a"),
            message("x", device=OTHER),
            message("filtered", "filtered"),
            message("refused", "refused"),
            message("poison", "poisonous"),
            message("b"),
        ],
        requests=[
            request("a", 1, final=False),
            request("x", 1.2),
            request("a", 2),
            request("a", 4),  # after the crash
            request("refused", 5, success=False),
            request("b", 6, final=False),
            request("b", 7),
        ],
        interruptions=[3],
        in_flight=1,
        ledger={
            "balanced": True,
            "sources": {
                "acme": {
                    "received": 8, "rejected": {}, "duplicate": 2, "filtered": {"integrations": 1},
                    "pending": 0, "delivered": 3, "dead": 2,
                }
            },
        },
        dead=[("acme", "refused"), ("acme", "poison")],
    )  # fmt: skip


def test_it_objects_to_nothing_in_a_sound_history() -> None:
    assert objections(sound()) == []


def lost(history: History) -> None:
    history.requests[-1].final = history.requests[-1].success = False


def never_sent(history: History) -> None:
    del history.requests[-2:]


def died(history: History) -> None:
    history.dead.append(("acme", "b"))


def not_buried(history: History) -> None:
    del history.dead[0]


def buried_twice(history: History) -> None:
    history.dead.append(("acme", "poison"))


def buried_from_nowhere(history: History) -> None:
    history.dead.append(("acme", "nobody's"))


def refused_unasked(history: History) -> None:
    del history.requests[4]


def filtered_and_sent(history: History) -> None:
    history.requests.insert(4, request("filtered", 4.6))


def changed(history: History) -> None:
    history.requests[-1].content = {"id": "b", "more": 1}


def changed_in_a_try_that_failed(history: History) -> None:
    history.requests[0].content = {}


def made_up(history: History) -> None:
    history.requests.append(request("nobody's", 9))


def swapped(history: History) -> None:
    history.requests[-3], history.requests[-1] = (
        request("b", 5),
        request("refused", 7, success=False),
    )
    del history.requests[-2]


def too_early(history: History) -> None:
    history.requests[-2].began = 5.2  # while the refusal was not yet answered


def gone_back(history: History) -> None:
    history.interruptions.append(8)
    history.requests.append(request("a", 9))


def repeated_without_a_crash(history: History) -> None:
    history.requests.append(request("b", 8))


def repeated_without_a_crash_and_failed(history: History) -> None:
    history.requests.append(request("b", 8, final=False))


def repeated_too_often(history: History) -> None:
    history.requests.insert(4, request("x", 4.2))


def unbalanced(history: History) -> None:
    history.ledger["balanced"] = False


def count(name: str, by: int) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.ledger["sources"]["acme"][name] += by

    change.__name__ = f"{name}_off_by_{by}"
    return change


def reason(name: str) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.ledger["sources"]["acme"][name]["another"] = 1

    change.__name__ = f"{name}_for_another_reason"
    return change


def without_the_source(history: History) -> None:
    history.ledger["sources"] = {}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lost, "b: lost: sent, but never with success"),
        (never_sent, "b: lost: never sent"),
        (died, "b: must be delivered, and has 1 dead letters"),
        (not_buried, "refused: must be refused, and has 0 dead letters"),
        (buried_twice, "poison: must be poisonous, and has 2 dead letters"),
        (buried_from_nowhere, "nobody's: a dead letter of acme"),
        (refused_unasked, "refused: never refused by Kochava"),
        (filtered_and_sent, "filtered: must be filtered, and was sent"),
        (changed, "b: changed"),
        (changed_in_a_try_that_failed, "a: changed"),
        (made_up, "nobody's: a request that nobody's message asked for"),
        (swapped, "b: sent before refused of"),
        (swapped, "refused: sent after b of"),
        (too_early, "b: sent before refused of"),
        (gone_back, "a: sent after b of"),
        (repeated_without_a_crash, "b: repeated"),
        (repeated_without_a_crash_and_failed, "b: repeated"),
        (repeated_too_often, "2 repeated after the end at 3.000, 1 were in flight"),
        (unbalanced, "the ledger says itself"),
        (count("received", 1), "does not balance"),
        (count("received", 1), "claims 7 received, it must be 6"),
        (count("duplicate", -1), "claims 7 received, it must be 6"),
        (count("pending", 1), "claims 1 pending"),
        (count("delivered", -1), "claims 2 delivered"),
        (count("dead", 1), "claims 3 dead"),
        (reason("filtered"), "claims 2 filtered"),
        (reason("rejected"), "claims 1 rejected"),
        (without_the_source, "acme: not in the ledger"),
    ],
)  # fmt: skip
def test_it_objects_to(damage: Callable[[History], None], said: str) -> None:
    history = sound()
    damage(history)
    assert any(said in objection for objection in objections(history))
