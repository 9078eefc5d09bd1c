"""What each answer of Kochava's means for the event."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.deliver.outcome import MAX_BODY, MAX_RETRY_AFTER, Peer, judge, retry_after
from proxy.deliver.transport import Reply
from tests.support import NOW


def answer(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        # RevenueCat's Kochava page shows "1"; Kochava's own attribution examples show 1.
        pytest.param(b'{"success":"1"}', "delivered", "", id="one as text"),
        pytest.param(b'{"success":1}', "delivered", "", id="one as number"),
        pytest.param(b' {"success": 1, "more": [2]}\n', "delivered", "", id="with more beside it"),
        pytest.param(b'{"success":true}', "refused", "success_not_1", id="true"),
        pytest.param(b'{"success":0}', "refused", "success_not_1", id="zero as number"),
        pytest.param(b'{"success":"0"}', "refused", "success_not_1", id="zero as text"),
        pytest.param(b'{"success":"1 "}', "refused", "success_not_1", id="one and a space"),
        pytest.param(b'{"success":[1]}', "refused", "success_not_1", id="a list"),
        pytest.param(b'{"success":null}', "refused", "success_not_1", id="null"),
        pytest.param(b'{"error":"x"}', "refused", "success_not_1", id="no success in it"),
        pytest.param(b"", "retry", "not_an_answer", id="empty"),
        pytest.param(b"<html>Log in</html>", "retry", "not_an_answer", id="a captive portal"),
        pytest.param(b"[1]", "retry", "not_an_answer", id="a list instead of an object"),
        pytest.param(b'{"success":"1"', "retry", "not_an_answer", id="cut short"),
        pytest.param(b'{"success":"1","x":"\xff"}', "retry", "not_an_answer", id="not UTF-8"),
        pytest.param(b'{"x":' + b"[" * 9_000, "retry", "not_an_answer", id="deeply nested"),
    ],
)
def test_only_a_body_that_says_success_1_is_a_delivery(body: bytes, kind: str, reason: str) -> None:
    outcome = judge(answer(200, body), NOW, "track")
    assert (outcome.kind, outcome.reason, outcome.status) == (kind, reason, 200)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        # What Segment says to all but what is too large or no JSON.
        pytest.param(b'{"success": true}', "delivered", id="true"),
        pytest.param(b"", "delivered", id="empty"),
        pytest.param(b'{"success": false}', "refused", id="false"),
    ],
)
def test_segment_says_true(body: bytes, kind: str) -> None:
    assert judge(answer(200, body), NOW, "segment").kind == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"", "delivered", id="empty"),
        pytest.param(b"OK", "delivered", id="not JSON"),
        pytest.param(b'{"id":7}', "delivered", id="no success in it"),
        pytest.param(b'{"success":"1"}', "delivered", id="success"),
        pytest.param(b'{"success":"0"}', "refused", id="no success"),
        pytest.param(b'{"success":false}', "refused", id="false"),
    ],
)
def test_a_link_is_delivered_unless_its_answer_says_otherwise(body: bytes, kind: str) -> None:
    assert judge(answer(204, body), NOW, "link").kind == kind


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("retry", [408, 425, 429, 500, 502, 503, 504, 599]),
        ("misconfigured", [301, 302, 307, 308, 401, 403, 404]),
        ("refused", [400, 405, 409, 410, 413, 422]),
    ],
)
@pytest.mark.parametrize("peer", ["track", "link", "segment"])
def test_a_status_beyond_2xx_decides_whatever_the_body_says(
    kind: str, statuses: list[int], peer: Peer
) -> None:
    for status in statuses:
        outcome = judge(answer(status, b'{"success":"1"}'), NOW, peer)
        assert (outcome.kind, outcome.reason) == (kind, f"status_{status}")


def test_a_huge_answer_is_kept_in_part() -> None:
    outcome = judge(answer(400, "é".encode() * 50_000), NOW, "track")
    assert outcome.body == "é" * MAX_BODY


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("120", 120.0, id="seconds"),
        pytest.param(" 7 ", 7.0, id="seconds in spaces"),
        pytest.param("0", 0.0, id="now"),
        pytest.param("86400", MAX_RETRY_AFTER, id="a day"),
        pytest.param("99999999999", MAX_RETRY_AFTER, id="three thousand years"),
        pytest.param("9" * 5_000, MAX_RETRY_AFTER, id="for ever"),
        pytest.param("Thu, 01 Jan 2026 00:01:40 GMT", 100.0, id="a date"),
        pytest.param("Thursday, 01-Jan-26 00:01:40 GMT", 100.0, id="a date of RFC 850"),
        pytest.param("Thu, 01 Jan 2026 02:01:40 +0200", 100.0, id="a date elsewhere"),
        pytest.param("Thu, 01 Jan 2026 00:01:40", 100.0, id="a date without zone"),
        pytest.param("Wed, 31 Dec 2025 23:59:59 GMT", 0.0, id="a date in the past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -2359", MAX_RETRY_AFTER, id="the last date"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 +99999999999999", None, id="a zone beyond ints"),
        pytest.param("Thu, 01 Jan 2026 99:00:00 GMT", None, id="an hour that is none"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", None, id="a fraction"),
        pytest.param("soon", None, id="a word"),
        pytest.param("", None, id="empty"),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str, seconds: float | None) -> None:
    outcome = judge(answer(429, Retry_After=value), NOW, "track")
    assert (outcome.kind, outcome.retry_after) == ("retry", seconds)


def test_a_date_is_of_the_clock_of_whoever_wrote_it() -> None:
    """Ours may be hours behind; nothing is to wait for those."""
    answered = {"Retry-After": "Thu, 01 Jan 2026 06:00:07 GMT"}
    at = "Thu, 01 Jan 2026 06:00:00 GMT"
    assert retry_after({**answered, "Date": at}, NOW) == 7.0
    assert retry_after({**answered, "Date": "some day"}, NOW) == MAX_RETRY_AFTER


def test_the_header_is_found_in_any_case() -> None:
    assert retry_after({"rEtRy-AfTeR": "3"}, NOW) == 3.0


@given(
    st.text(max_size=40)
    | st.from_regex(r"\d{1,3} Jan \d{1,12} [\d:.]{0,10} ?[+-]?\w{0,14}", fullmatch=True)
)
@example("112 Jan 220850119608 1.9")
def test_no_retry_after_whatever_is_fatal_or_out_of_bounds(value: str) -> None:
    seconds = retry_after({"Retry-After": value}, NOW)
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER
