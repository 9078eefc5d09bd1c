"""Amounts and names, as people write them: see proxy/translate.py."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.translate import amount, snake_case
from tests.receive.strategies import values


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (9.99, 9.99),
        (10, 10),
        (0, 0),
        (-5, -5),
        ("9.99", 9.99),
        (" 9.99 ", 9.99),
        ("$9.99", 9.99),
        ("$ 9.99", 9.99),
        ("-9.99", -9.99),
        ("-$9.99", -9.99),
        ("$-9.99", -9.99),
        ("+9.99", 9.99),
        ("1,299.00", 1299.0),
        ("$1,234,567.89", 1234567.89),
        ("9.99 USD", 9.99),
        ("9.99eur", 9.99),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-2", 0.01),
    ],
    ids=repr,
)
def test_an_amount_is_read_as_people_write_it(value: object, number: float) -> None:
    assert amount(value) == number


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, "", " ", "$", "-", ".", "free", "1,29", "12,34,567", "1.2.3", "--5",
        "$$5", "9.99 dollars", "0x10", "1_000", "NaN", "inf", "-Infinity", "1e999", "\u0661e999",
        float("nan"), float("inf"), [9.99], {"amount": 9.99}, 10**400, "9" * 400,
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_amount_is_none(value: object) -> None:
    assert amount(value) is None


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30))
def test_a_number_is_the_same_amount_as_its_text(number: float) -> None:
    assert amount(number) == number
    assert amount(str(number)) == pytest.approx(number)
    assert amount(f"${number}") == pytest.approx(number)


@settings(deadline=None)
@given(values)
def test_any_value_is_an_amount_or_none(value: object) -> None:
    number = amount(value)
    assert number is None or number - number == 0  # finite


@pytest.mark.parametrize("text", ["-" + " " * 30_000 + "x", "1" * 30_000 + "x", "$" + " " * 30_000])
def test_no_text_takes_long_to_read_as_an_amount(text: str) -> None:
    began = time.process_time()
    assert amount(text) is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("favoriteColor", "favorite_color"),
        ("Favorite Color", "favorite_color"),
        ("favorite-color", "favorite_color"),
        ("favorite_color", "favorite_color"),
        ("HTTPServer", "http_server"),
        ("userID", "user_id"),
        ("order_completed_last_30days", "order_completed_last_30days"),
        ("Last30Days", "last30_days"),
        (" $Plan (new) ", "plan_new"),
        ("Größe", "größe"),
    ],
)
def test_names_become_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


@settings(deadline=None)
@given(st.text())
def test_snake_case_changes_nothing_the_second_time(name: str) -> None:
    assert snake_case(snake_case(name)) == snake_case(name)
