"""When a message happened: see `_timestamp` and `parse_time` in proxy/decode.py."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.decode import decode_event, parse_time
from tests.receive.strategies import values
from tests.support import NOW, make_event

RECEIVED = datetime.fromtimestamp(NOW, UTC)
HOUR = timedelta(hours=1)


def _at(offset: timedelta) -> str:
    return (RECEIVED + offset).isoformat()


@pytest.mark.parametrize(
    ("message", "sent_at", "happened"),
    [
        pytest.param({}, None, RECEIVED, id="no time: when it came"),
        pytest.param({"timestamp": _at(-HOUR)}, None, RECEIVED - HOUR, id="no sentAt: as given"),
        pytest.param(
            {"timestamp": _at(4 * HOUR)}, _at(5 * HOUR), RECEIVED - HOUR, id="a clock 5 hours fast"
        ),
        pytest.param(
            {"timestamp": _at(-3 * HOUR), "sentAt": _at(-2 * HOUR)},
            _at(5 * HOUR),
            RECEIVED - HOUR,
            id="the message's own sentAt first",
        ),
        pytest.param(
            {"originalTimestamp": _at(4 * HOUR), "sentAt": _at(5 * HOUR)},
            None,
            RECEIVED - HOUR,
            id="originalTimestamp alone",
        ),
        pytest.param(
            {"timestamp": _at(-9 * HOUR), "originalTimestamp": _at(HOUR), "sentAt": _at(HOUR)},
            None,
            RECEIVED - 9 * HOUR,
            id="both: Segment has corrected timestamp",
        ),
        pytest.param(
            {"timestamp": _at(HOUR), "sentAt": _at(2 * HOUR), "receivedAt": _at(-5 * HOUR)},
            None,
            RECEIVED - 6 * HOUR,
            id="receivedAt by Segment goes with its sentAt",
        ),
        pytest.param({"timestamp": _at(-HOUR), "sentAt": None}, None, RECEIVED - HOUR, id="Engage"),
        pytest.param({"timestamp": _at(-HOUR)}, "nonsense", RECEIVED - HOUR, id="bad sentAt"),
        pytest.param(
            {"timestamp": "9999-12-31T00:00:00Z", "sentAt": "2020-01-01T00:00:00Z"},
            None,
            datetime(9999, 12, 31, tzinfo=UTC),
            id="corrected beyond all calendars: as given",
        ),
        pytest.param(
            {"timestamp": "2025-01-01T00:00:00Z", "sentAt": "2999-01-01T00:00:00Z"},
            None,
            datetime(2025, 1, 1, tzinfo=UTC),
            id="corrected to before 1970: as given",
        ),
        pytest.param({"timestamp": "nonsense"}, _at(HOUR), RECEIVED, id="bad timestamp"),
    ],
)
def test_the_time_is_corrected_for_the_clients_clock(
    message: dict[str, Any], sent_at: str | None, happened: datetime
) -> None:
    """Segment's "Spec: Common Fields": timestamp = receivedAt - (sentAt - originalTimestamp)."""
    facts = {} if sent_at is None else {"sent_at": sent_at}
    track = {"type": "track", "event": "Tested", "userId": "u-1", **message}
    decoded = decode_event(make_event(track, facts=facts))
    assert (decoded.timestamp, decoded.received_at) == (happened, RECEIVED)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05.6Z", datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)),
        ("2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)),
        ("2026-01-02T03:04:05.123456Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, UTC)),
        ("2026-01-02T03:04:05.678+00:00", datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)),
        ("2026-01-02T03:04:05.678901+00:00", datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)),
        ("2026-01-02T03:04:05+01:00", datetime(2026, 1, 2, 2, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05-0530", datetime(2026, 1, 2, 8, 34, 5, 0, UTC)),
        ("2026-01-02t03:04:05z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        (" 2026-01-02 03:04:05 ", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02", datetime(2026, 1, 2, 0, 0, 0, 0, UTC)),
        (1_767_323_045, datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        (1_767_323_045_678, datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)),
        ("1767323045", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("1767323045678", datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)),
        ("   1767323045   ", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("17673230456789", None),
        ("0001-01-01T00:00:00Z", None),  # what Go and .NET write for no time
        (0, None),
        (10**400, None),
        ("2026-02-30T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (True, None),
        ({}, None),
    ],
)
def test_times_are_read_as_clients_write_them(value: object, moment: datetime | None) -> None:
    assert parse_time(value) == moment


@settings(deadline=None)
@given(values)
def test_a_time_that_is_read_is_aware_and_in_utc(value: object) -> None:
    moment = parse_time(value)
    assert moment is None or moment.utcoffset() == timedelta(0)


_OFFSETS = ["", "Z", "z", "+00:00", "-00:00", "+0000", "+00", "+01:00", "-12:30", "+00:00:01"]


@st.composite
def _nearly_times(draw: st.DrawFn) -> str:
    moment = draw(st.datetimes())
    precision = draw(st.sampled_from(["hours", "seconds", "milliseconds", "microseconds"]))
    text = moment.isoformat(draw(st.sampled_from("Tt _")), precision)
    text += draw(st.sampled_from(_OFFSETS))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text) - 1))
        text = (
            text[:at] + draw(st.sampled_from(["", *"0129TtZWw:-+.,\u00df\u0661"])) + text[at + 1 :]
        )
    return text


def _plainly(text: str) -> datetime | None:
    text = text.strip().upper()
    try:
        if re.fullmatch("[0-9]{10}|[0-9]{13}", text):
            number = int(text)
            seconds = number if number < 31_557_600_000 else number / 1_000
            moment = datetime.fromtimestamp(seconds, UTC)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.timestamp() > 0 else None


@settings(deadline=None, max_examples=500)
@given(_nearly_times() | st.from_regex(r"\A[0-9]{9,14}\Z"))
def test_no_short_cut_reads_a_time_otherwise(text: str) -> None:
    moment = parse_time(text)
    assert moment == _plainly(text)
    assert moment is None or moment.utcoffset() == timedelta(0)
