"""(a) What the tools can do with nothing around them: the other side of every ratio.

The handler has the proxy's core and the load the other; the client has the proxy's core and the
sink the other; appending has the proxy's core and the disk that the proxy's files are on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from bench.child import child
from bench.figures import Figure, Row
from bench.sink import TRACK_PATH
from bench.stage import BATCH, Stage

HANDLER: Final = "aiohttp handler that decodes"
CLIENT: Final = "aiohttp client, tuned"
APPEND: Final = "append, 100 a commit"
RUDDERSTACK: Final = "RudderStack's mapping, scaled"

#: Of the machine on which RudderStack's transformer was measured: its events a second on a core,
#: and the requests a second of the handler.
RUDDERSTACK_THERE: Final = 27_900.0
HANDLER_THERE: Final = 37_500.0


async def measure(stage: Stage) -> Mapping[str, float]:
    seconds = stage.sizes.seconds
    async with child("bench.ceilings", stage.cores.proxy) as ceilings:
        port = await ceilings.call("handler")
        await stage.send(port, batch=0, seconds=seconds / 10)
        sent = await stage.send(port, batch=0, seconds=seconds)
        handler = sent.answered / (sent.ended - sent.began)
    async with child("bench.ceilings", stage.cores.proxy) as ceilings:
        await stage.behave()
        url = stage.sink_url + TRACK_PATH
        client = await ceilings.call("client", url=url, seconds=seconds)
        folder = str(await asyncio.to_thread(stage.new_folder))
        single = await ceilings.call("append", folder=folder, batch=1, seconds=seconds / 2)
        many = await ceilings.call("append", folder=folder, batch=BATCH, seconds=seconds)
    return {
        HANDLER: handler,
        CLIENT: client,
        "append, 1 a commit": single,
        APPEND: many,
        RUDDERSTACK: RUDDERSTACK_THERE * handler / HANDLER_THERE,
    }


ROW: Final = Row(
    "ceilings",
    "what the tools can do",
    (
        Figure(HANDLER, "requests/s"),
        Figure(CLIENT, "requests/s"),
        Figure("append, 1 a commit", "events/s"),
        Figure(APPEND, "events/s"),
        Figure(RUDDERSTACK, "events/s a core"),
    ),
    measure,
)
