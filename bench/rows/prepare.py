"""(c) Decoding, plugins and encoding alone: `Pipeline.prepare`, on stored events, in a process of
its own. What is learnt of devices stays in memory there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.child import ChildFailed, child
from bench.figures import Figure, Row
from bench.stage import Stage

KINDS: Final = {"tracks": "prepare, tracks", "mapped": "prepare, tracks, identifies, installs"}


async def measure(stage: Stage) -> Mapping[str, float]:
    number, found = stage.sizes.prepared, {}
    async with child("bench.mapping", stage.cores.proxy) as mapping:
        for kind, name in KINDS.items():
            result = await mapping.call("prepare", kind=kind, number=number)
            if result["delivered"] != number:
                raise ChildFailed(f"{result['delivered']} of {number} events led to a request")
            found[name] = result["seconds"] / number * 1e6
    return found


ROW: Final = Row(
    "prepare",
    "decode, map, encode",
    tuple(Figure(name, "us an event") for name in KINDS.values()),
    measure,
)
