"""Parameters of postbacks by our names, and which of them speak of the same install."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.postback import IDS, NAMES, ids_of, postback_id, read_fields, spellings

OURS = spellings({})
IDFA = "5B2C1F0E-8D1A-4B77-9F60-2A7C3D4E5F60"
ZEROS = "00000000-0000-0000-0000-000000000000"

#: A run that fails is to be about what was changed, not about a busy machine.
steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
#: With something to say; braces may make a macro of it.
telling = text.map(str.strip).filter(lambda value: value and "{" not in value)


def read(names: dict[str, str] = OURS, /, **given: str) -> dict[str, str]:
    return read_fields(msgspec.json.encode(given), names)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_is_known_by_each_of_its_spellings(name: str) -> None:
    assert NAMES[name][0] == name
    for spelling in NAMES[name]:
        assert read(**{spelling: "x"}) == {name: "x"}


def test_no_spelling_stands_for_two_parameters() -> None:
    every = [spelling for known in NAMES.values() for spelling in known]
    assert sorted(set(every)) == sorted(every)


def test_of_several_spellings_the_first_that_says_something_counts() -> None:
    found = read(gaid="g", google_aid="h", adid="", network_name="{network}", media_source="m")
    assert found == {"adid": "g", "network": "m"}  # what contradicts it is not kept beside it


def test_the_config_s_spellings_come_before_ours() -> None:
    names = spellings({"adid": ("device_id", "ad"), "network": "partner", "tier": "t"})
    assert read(names, device_id="d", partner="p", network="n", t="1") == {
        "adid": "d",
        "network": "p",
        "tier": "1",
    }
    assert read(names, ad="a", network="n", kochava_id="k") == {
        "adid": "a",
        "network": "n",
        "kochava_device_id": "k",
    }


@pytest.mark.parametrize(
    "value", ["", "  ", "{idfa}", "{IDFA}", "%{idfa}", "a-{click.id}", "{device-id}", " {x} "]
)
def test_what_says_nothing_and_what_was_not_filled_in_is_absent(value: str) -> None:
    assert read(idfa=value, other=value) == {}


@pytest.mark.parametrize("value", ["{}", '{"a":1}', '[{"a":{"b":2}}]', "{", "a } b", "{a b}"])
def test_braces_alone_are_no_macro(value: str) -> None:
    assert read(other=value) == {"other": value}


def test_space_around_a_value_is_not_kept() -> None:
    assert read(idfa=f" {IDFA}\n") == {"idfa": IDFA}


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"a":1}', b'{"a":null}', b"\xff"])
def test_what_are_no_parameters_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_fields(raw, OURS)


@steady
@given(st.dictionaries(text.filter(lambda name: name not in OURS), telling))
def test_parameters_of_other_names_come_through_as_they_are(given: dict[str, str]) -> None:
    assert read_fields(msgspec.json.encode(given), OURS) == given


@steady
@given(st.dictionaries(st.sampled_from(sorted(OURS)) | text, text))
def test_no_value_is_made_up_or_said_twice(given: dict[str, str]) -> None:
    found = read_fields(msgspec.json.encode(given), OURS)
    left = [value.strip() for value in given.values()]
    for value in found.values():
        left.remove(value)
    assert all(found.values())


def test_ids_come_in_their_order_without_zeros_and_blanks() -> None:
    given = {key: f"{key}-1" for key in reversed(IDS)}
    assert ids_of(given) == [f"{key}-1" for key in IDS]
    assert ids_of({"idfa": ZEROS, "adid": "0", "android_id": "", "idfv": "v"}) == ["v"]
    assert ids_of({"network": "n"}) == []


@pytest.mark.parametrize(
    "again",
    [
        {"kochava_device_id": "k-1"},
        {"kochava_device_id": "K-1", "network": "Other", "event_time": "1767225600"},
        {"kochava_device_id": "k-1", "event_name": "_install", "idfa": IDFA},
        {"kochava_device_id": "k-1", "event_name": "Install"},
    ],
    ids=["bare", "other values", "named", "spelt otherwise"],
)
def test_a_device_is_installed_once(again: dict[str, str]) -> None:
    first = postback_id("acme", {"kochava_device_id": "k-1", "network": "Acme Ads"})
    assert postback_id("acme", again) == first


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("beta", {"kochava_device_id": "k-1"}),
        ("acme", {"kochava_device_id": "k-2"}),
        ("acme", {"kochava_device_id": "k-1", "event_name": "Purchase"}),
        ("acme", {"network": "Acme Ads"}),
    ],
    ids=["source", "device", "event", "no id"],
)
def test_another_install_is_another(source: str, other: dict[str, str]) -> None:
    assert postback_id(source, other) != postback_id("acme", {"kochava_device_id": "k-1"})


def test_of_what_is_no_install_everything_counts_in_any_order() -> None:
    first = {"event_name": "Purchase", "adid": "a", "sum": "1"}
    assert postback_id("acme", dict(reversed(first.items()))) == postback_id("acme", first)
    assert postback_id("acme", {**first, "sum": "2"}) != postback_id("acme", first)


def test_an_id_is_one_that_segment_takes() -> None:
    assert len(postback_id("acme", {"network": "n"})) < 100
