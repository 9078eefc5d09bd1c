"""Segment's Tracking API: what SDKs call in place of api.segment.io.

A 200 is sent when the commit is on the disk, not before. Paths stand with and without "/v1" and a
trailing slash: SDKs differ in which of these their host setting leaves to them (Java posts to
/v1/import/; apps that are given a whole URL often leave /v1 out).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec
import structlog
from aiohttp import web

from proxy.decode import TYPES
from proxy.errors import RequestRefused, StorageError
from proxy.occasionally import Occasionally
from proxy.receive.door import Door
from proxy.receive.intake import (
    MAX_BATCH,
    MAX_MESSAGE,
    MAX_MESSAGES,
    Batch,
    Intake,
    key_of,
    read_batch,
    take_batch,
)
from proxy.receive.replies import refusal, success
from proxy.receive.slices import SLICE_PIECES, Sliced

#: Swift, Kotlin, React Native and browsers use first letters.
SINGLE_PATHS: Final = {type_: type_ for type_ in sorted(TYPES)} | {
    type_[0]: type_ for type_ in sorted(TYPES)
}
BATCH_PATHS: Final = ("batch", "import", "b")
METRICS_PATH: Final = "m"  # counters about the SDK itself

_log = structlog.get_logger(room="receive")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def spellings(name: str) -> Iterator[str]:
    """Every path by which a call may be made."""
    for prefix in ("/v1", ""):
        for end in ("", "/"):
            yield f"{prefix}/{name}{end}"


class TrackingApi:
    """The handlers of POST requests."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def add_routes(self, app: web.Application) -> None:
        """Adds every path of the API to `app`."""
        handlers: dict[str, Handler] = {
            **{name: self._single(type_) for name, type_ in SINGLE_PATHS.items()},
            **dict.fromkeys(BATCH_PATHS, self._batch),
            METRICS_PATH: self._metrics,
        }
        for name, handler in handlers.items():
            for path in spellings(name):
                app.router.add_post(path, handler)

    def _single(self, type_: str) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await self._door.read(request, MAX_MESSAGE)
            await self._door.keep_message(request, type_, body)
            return success()

        return handle

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        body = await self._door.read(request, MAX_BATCH)
        async with self._door.turns.alone(len(body)):
            await self._door.keep_all(await self._door.turns.run(self._taken(request, body)))
        return success()

    def _taken(self, request: web.Request, body: bytes) -> Sliced[list[tuple[str, Intake]]]:
        door = self._door
        batch = yield from read_batch(body)
        now, address = door.clock.now(), door.address(request)
        parts, rejected = yield from self._by_source(request, batch)
        taken: list[tuple[str, Intake]] = []
        for source, part in parts:
            intake = yield from take_batch(part, source, now, address, door.new_id)
            taken.append((source, intake))
        taken[0][1].rejected.update(rejected)
        return taken

    def _by_source(
        self, request: web.Request, batch: Batch
    ) -> Sliced[tuple[list[tuple[str, Batch]], dict[str, int]]]:
        """A batch with a key of its own is one source's. Otherwise each message names its own, or
        has the first one's; how many name a key that nobody knows, or come after the last that a
        batch may hold, is the second answer.
        """
        keys = self._door.keys
        given = self._door.given_keys(request, batch.key)
        if any(given) or not batch.batch:
            return [(keys.find(*given), batch)], {}
        named: list[str | None] = []
        for raw in batch.batch[:MAX_MESSAGES]:
            named.append(key_of(raw))
            if not len(named) % SLICE_PIECES:
                yield
        first = next(filter(None, map(keys.name, filter(None, named))), None) or keys.find(*named)
        parts: dict[str, list[msgspec.Raw]] = {first: []}
        rejected: Counter[str] = Counter(too_many_messages=len(batch.batch) - len(named))
        for raw, key in zip(batch.batch, named, strict=False):
            source = keys.name(key) if key else first
            if source is None:
                rejected["unknown_source"] += 1
            else:
                parts.setdefault(source, []).append(raw)
        replace = msgspec.structs.replace
        return [(source, replace(batch, batch=raws)) for source, raws in parts.items()], +rejected

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        """What an SDK counts about itself: nothing that anybody here would read, and so nothing
        that there might be no room for.
        """
        await self._door.body(request, MAX_BATCH)
        return success()


_not_accepted = Occasionally()  # a full disk stays full for a while, and every request meets it


@web.middleware
async def answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal as JSON with a reason; nothing answers 500.

    What goes wrong here is never the client's fault once its request was read, so it gets a 503:
    SDKs keep their data and try again.
    """
    try:
        return await handler(request)
    except RequestRefused as error:
        return refusal(error)
    except StorageError as error:
        if times := _not_accepted.count(time.monotonic(), str(error)):
            _log.error("not_accepted", error=str(error), times=times)
        return refusal(RequestRefused(503, "storage_unavailable", "not all was kept, try again"))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        response = refusal(RequestRefused(error.status, code, f"{request.method} {request.path}"))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionError:
        # Nobody reads this. Raised, it would be logged as a failure, as often as clients like.
        return refusal(RequestRefused(400, "client_gone", "the body did not come"))
    except Exception:  # noqa: BLE001  a fault of ours must not make clients drop their data
        # Not the path itself: a token or a key may stand in it.
        resource = request.match_info.route.resource
        _log.exception("handler_failed", route=resource.canonical if resource else "")
        return refusal(RequestRefused(503, "internal_error", "nothing was kept, try again"))
