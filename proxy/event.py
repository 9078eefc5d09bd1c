"""An accepted message as it lies in the spool: the bytes received, and the facts of its arrival.

What is kept is what came in, never what was made of it, so that a mended mapping reaches the
backlog (docs/decisions/0001-raw-events.md).
"""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message needs from the request that carried it.

    `ip` is the address the request came from. `sent_at`, `context` and `integrations` stood
    beside the messages of a batch; the last two as raw JSON objects.
    """

    ip: str | None = None
    sent_at: str | None = None
    context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Event(msgspec.Struct, frozen=True):
    """One accepted message. `received_at` is in epoch seconds; `facts` is `Facts` as JSON.

    The rest says where it queues (`proxy.placing.Place`).
    """

    source: str
    message_id: str
    type: str
    received_at: float
    facts: bytes
    raw: bytes
    device: int = 0
    person: int | None = None
    of_person: bool = False
    computed: bool = False
    happened_at: float | None = None
