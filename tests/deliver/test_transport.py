"""Sending over real sockets, and every fault of the other side as a reason: what both clients do
alike.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

import pytest

from proxy.deliver.encode import Encoder
from proxy.deliver.outcome import judge
from proxy.deliver.signing import sign
from proxy.deliver.transport import MAX_ANSWER, Transport
from proxy.errors import TransportError
from proxy.kochava import KochavaRequest
from proxy.states import Outgoing
from tests.deliver.conftest import Make
from tests.deliver.servers import OK, RESET, Server, listening, send, serving
from tests.support import make_config

NOW = 1_700_000_000.0


def post(url: str, body: bytes = b"{}", more: Mapping[str, str] | None = None) -> Outgoing:
    return Outgoing("POST", url, {"Content-Type": "application/json", **(more or {})}, body)


async def reason(transport: Transport, outgoing: Outgoing) -> str:
    with pytest.raises(TransportError) as caught:
        await send(transport, outgoing)
    return caught.value.reason


# Faults


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b"", "connection_broken", id="closed without an answer"),
        pytest.param(RESET, "connection_broken", id="reset"),
        pytest.param(b"HTTP/1.1 20", "connection_broken", id="closed within the status"),
        pytest.param(OK[:25], "connection_broken", id="closed within the headers"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK[:17], "connection_broken", id="closed after 100"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n\r\n", "connection_broken", id="not HTTP"),
        pytest.param(b"\x16\x03\x01\x00\x02\x01\x00", "connection_broken", id="TLS"),
        pytest.param(OK[:-3], "answer_cut_short", id="closed within the body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "answer_cut_short",
            id="closed within a chunk",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "connection_broken",
            id="no chunk",
        ),
    ],
)
async def test_an_answer_that_breaks_off_is_none(
    transport: Transport, answer: bytes, expected: str
) -> None:
    async with serving(Server(answer, close=True)) as server:
        assert await reason(transport, post(server.url)) == expected
        server.answers, server.close = [OK], False
        assert (await send(transport, post(server.url))).body == b'{"success":"1"}'


async def test_a_server_that_never_answers_is_given_up(make: Make) -> None:
    transport = make(timeout_seconds=0.05, max_connections=1)
    async with serving(Server(None, OK)) as server:
        assert await reason(transport, post(server.url)) == "timeout"
        assert (await send(transport, post(server.url))).status == 200


async def test_the_time_is_counted_for_each_request_alone(make: Make) -> None:
    transport = make(timeout_seconds=0.2)
    async with serving(Server(OK, None)) as server:
        await send(transport, post(server.url))
        await asyncio.sleep(0.1)  # half of the time that the first one had
        began = time.monotonic()
        assert await reason(transport, post(server.url)) == "timeout"
        assert 0.19 < time.monotonic() - began < 2


async def test_waiting_for_a_connection_counts(make: Make) -> None:
    transport = make(timeout_seconds=0.1, max_connections=1)
    async with serving(Server(None)) as server:
        both = [reason(transport, post(server.url)) for _ in range(2)]
        assert await asyncio.gather(*both) == ["timeout", "timeout"]


async def test_a_closed_port_and_a_port_without_tls_are_told_apart(transport: Transport) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with listening(refuse) as port:
        assert await reason(transport, post(f"https://127.0.0.1:{port}/")) == "tls_failed"
    assert await reason(transport, post(f"http://127.0.0.1:{port}/")) == "not_connected"


async def test_a_name_that_nobody_has_is_told_apart(transport: Transport) -> None:
    """A name may be 253 long: no name server is asked for this one."""
    name = "a." * 130 + "invalid"
    assert await reason(transport, post(f"http://{name}/")) == "name_not_resolved"


# Answers


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        pytest.param(OK, 200, b'{"success":"1"}', id="plain"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", id="without a body"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b'{"success":"1"}', id="100"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n\x00\xff\r\n1\r\n\n\r\n0\r\n\r\n",
            200,
            b"\x00\xff\n",
            id="in chunks",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + OK[17:],
            200,
            b'{"success":"1"}',
            id="as it came",
        ),
    ],
)
async def test_an_answer_is_read_as_it_is(
    transport: Transport, answer: bytes, status: int, body: bytes
) -> None:
    async with serving(Server(answer)) as server:
        for _ in range(2):
            reply = await send(transport, post(server.url))
            assert (reply.status, reply.body) == (status, body)
    assert server.connections == 1


async def test_an_answer_may_end_with_its_connection(transport: Transport) -> None:
    answers = (
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.0 200 OK\r\n\r\n{}",
    )
    async with serving(Server(*answers, close=True)) as server:
        assert (await send(transport, post(server.url))).body == b'{"success":"1"}'
        assert (await send(transport, post(server.url))).body == b"{}"
    assert server.connections == 2


async def test_headers_of_other_answers_can_be_looked_at(transport: Transport) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\nRetry-After: 5\r\n\r\n"
        b"HTTP/1.1 429 Slow Down\r\nretry-after: 17\r\nX-Name: Zo\xc3\xab\r\n"
        b"X-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 0\r\n\r\n"
    )
    async with serving(Server(answer)) as server:
        reply = await send(transport, post(server.url))
    assert judge(reply, NOW, "track").retry_after == 17
    assert {name.lower(): reply.headers[name] for name in reply.headers} == {
        "retry-after": "17", "x-name": "Zoë", "x-twice": "1", "content-length": "0"
    }  # fmt: skip


async def test_a_redirect_is_an_answer_and_is_not_followed(transport: Transport) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(Server(moved)) as server:
        reply = await send(transport, post(server.url))
    assert reply.status == 307
    assert len(server.requests) == 1


async def test_of_a_huge_answer_only_the_beginning_is_read(transport: Transport) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100000000\r\n\r\n"
    async with serving(Server(head + b"x" * 3 * MAX_ANSWER, OK)) as server:
        reply = await send(transport, post(server.url))
        assert reply.status == 400
        assert MAX_ANSWER <= len(reply.body) < 2 * MAX_ANSWER + 1
        assert set(reply.body) == {ord("x")}
        assert (await send(transport, post(server.url))).body == b'{"success":"1"}'


async def test_cookies_are_not_sent_back(transport: Transport) -> None:
    async with serving(Server(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"))) as server:
        await send(transport, post(server.url))
        await send(transport, post(server.url))
    assert b"cookie" not in server.requests[1].lower()


# Connections


async def test_one_connection_serves_many_requests_and_few_serve_many_at_once(
    transport: Transport,
) -> None:
    async with serving(Server(OK)) as server:
        for _ in range(20):
            await send(transport, post(server.url))
        assert server.connections == 1
        await asyncio.gather(*(send(transport, post(server.url)) for _ in range(40)))
        assert server.connections <= 4
    assert len(server.requests) == 60


async def test_a_connection_that_was_closed_while_idle_is_not_used(transport: Transport) -> None:
    async with serving(Server(OK, close=True)) as server:
        for _ in range(3):
            assert (await send(transport, post(server.url))).status == 200
            await asyncio.sleep(0.01)  # turns of the loop in which that may be noticed
    assert server.connections == 3


async def test_one_that_is_closed_on_a_request_is_no_answer_and_the_next_goes_through(
    kind: str, transport: Transport
) -> None:
    """libcurl sends it once more by itself, over a new connection; aiohttp leaves that to us."""
    async with serving(Server(OK, b"", OK)) as server:
        await send(transport, post(server.url))
        if kind == "aiohttp":
            assert await reason(transport, post(server.url)) == "connection_broken"
        assert (await send(transport, post(server.url))).status == 200
    assert len(server.requests) == 3


async def test_what_is_cancelled_makes_room(make: Make) -> None:
    transport = make(max_connections=1)
    async with serving(Server(None, OK)) as server:
        sending = asyncio.create_task(send(transport, post(server.url)))
        waiting = asyncio.create_task(send(transport, post(server.url)))
        await server.asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await waiting).status == 200
        assert (await send(transport, post(server.url))).status == 200
    assert server.connections == 2


async def test_what_is_cancelled_at_once_is_not_sent(transport: Transport) -> None:
    async with serving(Server(OK)) as server:
        sending = asyncio.create_task(send(transport, post(server.url, b'"first"')))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await send(transport, post(server.url, b'"second"'))
    assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b'"second"']


async def test_closing_ends_what_is_under_way(transport: Transport) -> None:
    async with serving(Server(None)) as server:
        sending = asyncio.create_task(reason(transport, post(server.url)))
        await server.asked.wait()
        await transport.close()
        assert await sending == "connection_broken"


# Requests


async def test_the_request_is_the_same_whoever_sends_it(transport: Transport) -> None:
    body = bytes(range(256)) * 4
    async with serving(Server(OK)) as server:
        await send(transport, post(f"{server.url}/a b/ë?c=%20", body, {"User-Agent": "Unknown"}))
        host = server.url.split("/")[2]
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert sent == body
    line, *lines = head.decode().split("\r\n")
    assert line == "POST /track/json/a%20b/%C3%AB?c=%20 HTTP/1.1"
    assert {each.lower() for each in lines} == {
        f"host: {host}", "accept: */*", "accept-encoding: identity", "user-agent: unknown",
        "content-type: application/json", "content-length: 1024",
    }  # fmt: skip


async def test_a_large_body_is_sent_without_asking_first(transport: Transport) -> None:
    body = json.dumps({"text": "x" * 1_000_000}).encode()  # of such libcurl would ask
    async with serving(Server(OK)) as server:
        await send(transport, post(server.url, body))
    assert server.requests[0].endswith(body)
    assert server.header("Expect") is None


async def test_headers_may_hold_any_text_but_a_line_break(transport: Transport) -> None:
    async with serving(Server(OK)) as server:
        await send(transport, post(server.url, more={"X-Name": "Zoë", "X-Empty": ""}))
        sent = server.requests[0].split(b"\r\n")
        assert b"X-Name: Zo\xc3\xab" in sent
        assert any(line.rstrip() == b"X-Empty:" for line in sent)
        split = post(server.url, more={"X-Name": "a\r\nX-Other: b"})
        assert await reason(transport, split) == "connection_broken"
        await send(transport, post(server.url))
        assert server.header("X-Name", 1) is None  # nor are those of the one before sent again
    assert len(server.requests) == 2


async def test_the_bytes_on_the_wire_are_the_bytes_that_were_signed(
    transport: Transport,
) -> None:
    keys = {"kochava_api_key": "demo-api-key", "kochava_secret": "demo-secret"}
    request = KochavaRequest(
        action="event",
        kochava_app_id="koacme-ios",
        kochava_device_id="dev/1",
        data={"device_ua": "", "event_data": {"name": "Zoë 😀", "sum": 9.99, "whole": 10.0}},
    )
    async with serving(Server(OK)) as server:
        config = make_config(keys, kochava={"track_url": server.url})
        outgoing = Encoder(config).encode(request, "acme")
        reply = await send(transport, outgoing)
    assert (reply.status, reply.body) == (200, b'{"success":"1"}')
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert body.decode() == (
        r'{"action":"event","kochava_app_id":"koacme-ios","kochava_device_id":"dev\/1",'
        r'"data":{"device_ua":"","event_data":'
        r'{"name":"Zo\u00eb \ud83d\ude00","sum":9.99,"whole":10}}}'
    )
    token = sign(body, "demo-api-key", "demo-secret")["Kochava-Auth-Token"]
    assert lines["Kochava-Auth-Token"] == token
    assert lines["Kochava-Api-Key"] == "demo-api-key"
    assert lines["User-Agent"] == "Unknown"
    assert lines["Content-Type"] == "application/json"
