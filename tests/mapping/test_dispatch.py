"""Every answer and every fault of a plugin becomes a value, and says whose it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.device import Device
from proxy.kochava import IdentityLink, KochavaRequest
from proxy.mapping.dispatch import MAX_DETAIL, Requests
from proxy.states import Fail, Filter
from tests.mapping.plugin_files import dispatcher, request
from tests.support import IOS_DEVICE, make_config, make_message

SOURCE = make_config().sources[0].public()
PHONE = Device("ios", "d-1", {"idfv": "d-1"})
TABLET = Device("android", "d-2", {"adid": "d-2"})


def hook(name: str, body: str, parameters: str = "message") -> str:
    return f"@hookimpl\ndef {name}({parameters}):\n    {body}\n"


def failed(outcome: object) -> Fail:
    assert isinstance(outcome, Fail), outcome
    return outcome


def test_a_mapping_that_raises_dead_letters_with_plugin_and_traceback(tmp_path: Path) -> None:
    dispatch = dispatcher(tmp_path, vip=hook("map_track", "return 1 / 0"))
    found = failed(dispatch.map(make_message(), SOURCE))
    assert found.reason == "plugin_error:vip.py"
    assert f'File "{tmp_path}/plugins.d/vip.py", line 4, in map_track' in found.detail
    assert "ZeroDivisionError: division by zero" in found.detail


def test_it_touches_no_other_message(tmp_path: Path) -> None:
    body = "return 1 / 0 if message.event == 'Bad' else None"
    dispatch = dispatcher(tmp_path, vip=hook("map_track", body))
    context = {"device": IOS_DEVICE}
    outcomes = [
        dispatch.map(make_message(event=name, context=context), SOURCE)
        for name in ("Good", "Bad", "Good")
    ]
    assert [type(outcome) for outcome in outcomes] == [Requests, Fail, Requests]
    assert outcomes[0] == outcomes[2]


def test_the_plugin_at_fault_is_the_one_that_raised_not_its_wrapper(tmp_path: Path) -> None:
    wrapper = "@hookimpl(wrapper=True)\ndef map_track(message):\n    return (yield)\n"
    dispatch = dispatcher(tmp_path, vip=hook("map_track", "return 1 / 0"), zoo=wrapper)
    assert failed(dispatch.map(make_message(), SOURCE)).reason == "plugin_error:vip.py"


def test_a_fault_is_found_below_a_relative_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the default `-c config.toml`."""
    monkeypatch.chdir(tmp_path)
    dispatch = dispatcher(Path(), vip=hook("map_track", "return 1 / 0"))
    assert failed(dispatch.map(make_message(), SOURCE)).reason == "plugin_error:vip.py"


def test_a_long_traceback_is_cut_from_its_beginning(tmp_path: Path) -> None:
    body = f"raise ValueError('x' * {MAX_DETAIL} + 'end')"
    dispatch = dispatcher(tmp_path, vip=hook("map_track", body))
    detail = failed(dispatch.map(make_message(), SOURCE)).detail
    assert len(detail) == MAX_DETAIL
    assert detail.rstrip().endswith("end")


@pytest.mark.parametrize(
    ("name", "body", "what"),
    [
        ("map_track", "return {'event': 'x'}", "map_track of plugin vip.py answered dict"),
        ("map_track", "return 'Purchase'", "map_track of plugin vip.py answered str"),
        ("map_track", "return False", "map_track of plugin vip.py answered bool"),
        ("map_track", f"return [{request()}, None]", "map_track of plugin vip.py answered list"),
        ("map_track", f"return (each for each in [{request()}])",
         "map_track of plugin vip.py answered generator"),
        ("campaign_context", "return {'id': '1'}",
         "campaign_context of plugin vip.py answered dict"),
        ("drop_reason", "return True", "drop_reason of plugin vip.py answered bool"),
        ("drop_reason", "return ''", "drop_reason of plugin vip.py answered str, not a reason"),
    ],
    ids=["dict", "text", "boolean", "None in a list", "generator", "campaign", "reason",
         "no reason"],
)  # fmt: skip
def test_an_answer_of_the_wrong_type_names_hook_and_plugin(
    name: str, body: str, what: str, tmp_path: Path
) -> None:
    dispatch = dispatcher(tmp_path, vip=hook(name, body))
    ask = dispatch.drop_reason if name == "drop_reason" else dispatch.map
    found = failed(ask(make_message(), SOURCE))
    assert (found.reason, what in found.detail) == ("plugin_error:vip.py", True)


def test_a_wrapper_that_spoils_the_answer_is_the_one_named(tmp_path: Path) -> None:
    wrapper = "@hookimpl(wrapper=True)\ndef map_track(message):\n    yield\n    return 5\n"
    dispatch = dispatcher(tmp_path, vip=hook("map_track", f"return {request()}"), zoo=wrapper)
    assert failed(dispatch.map(make_message(), SOURCE)).reason == "plugin_error:zoo.py"


def test_a_wrong_answer_for_a_campaign_harms_no_one_else(tmp_path: Path) -> None:
    """To name the plugin it is asked again: with the same campaign, and whatever it does then."""
    dispatch = dispatcher(
        tmp_path,
        vip=hook("campaign_context", "return Campaign(id='1')")
        + hook("map_track", "return campaign.id", "campaign"),
        zoo=hook("map_screen", "asked.append(1); return 5 if len(asked) == 1 else 1 / 0")
        + "asked = []\n",
    )
    assert failed(dispatch.map(make_message(), SOURCE)).reason == "plugin_error:vip.py"
    assert isinstance(dispatch.map(make_message("screen"), SOURCE), Fail)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("raise Filtered('not_a_buyer')", Filter("not_a_buyer")),
        ("return []", Filter("mapped_to_nothing")),
        ("return ()", Filter("mapped_to_nothing")),
    ],
)
def test_a_mapping_may_send_nothing_on_purpose(body: str, outcome: Filter, tmp_path: Path) -> None:
    dispatch = dispatcher(tmp_path, vip=hook("map_track", body))
    assert dispatch.map(make_message(), SOURCE) == outcome


@pytest.mark.parametrize("type_", ["group", "alias"])
def test_what_nobody_maps_is_filtered(type_: str, tmp_path: Path) -> None:
    assert dispatcher(tmp_path).map(make_message(type_), SOURCE) == Filter("unmapped")


def test_the_reason_to_drop_is_the_first_that_is_given(tmp_path: Path) -> None:
    dispatch = dispatcher(
        tmp_path, a=hook("drop_reason", "return 'a'"), b=hook("drop_reason", "return None")
    )
    assert dispatch.drop_reason(make_message(), SOURCE) == Filter("a")
    assert (
        dispatcher(tmp_path, a=hook("drop_reason", "return None")).drop_reason(
            make_message(), SOURCE
        )
        is None
    )


def test_a_drop_reason_may_be_raised_too(tmp_path: Path) -> None:
    body = "from proxy import Filtered; raise Filtered('staff')"
    dispatch = dispatcher(tmp_path, vip=hook("drop_reason", body))
    assert dispatch.drop_reason(make_message(), SOURCE) == Filter("staff")


@pytest.mark.parametrize("name", ["drop_reason", "map_track"])
def test_a_plugin_cannot_end_the_process(name: str, tmp_path: Path) -> None:
    dispatch = dispatcher(tmp_path, vip=hook(name, "raise SystemExit(3)"))
    ask = dispatch.drop_reason if name == "drop_reason" else dispatch.map
    assert failed(ask(make_message(), SOURCE)).reason == "plugin_error:vip.py"


def test_a_drop_reason_that_raises_is_a_fault_of_its_plugin(tmp_path: Path) -> None:
    dispatch = dispatcher(tmp_path, vip=hook("drop_reason", "return 1 / 0"))
    assert failed(dispatch.drop_reason(make_message(), SOURCE)).reason == "plugin_error:vip.py"


@pytest.mark.parametrize("wrap", ["[{}, {}]", "({}, {})"], ids=["list", "tuple"])
def test_a_list_is_sent_in_its_order(wrap: str, tmp_path: Path) -> None:
    body = "return " + wrap.format(request("One"), request("Two"))
    mapped = dispatcher(tmp_path, vip=hook("map_track", body)).map(make_message(), SOURCE)
    assert isinstance(mapped, Requests)
    names = [each.data["event_name"] for each in mapped.requests]
    assert names == ["One", "Two"]


EVERY_MAPPING = """
@hookimpl
def campaign_context(message, source): return Campaign(name=source.name)

@hookimpl
def map_track(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_identify(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_screen(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_page(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_group(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_alias(message, source, campaign): return seen(message, source, campaign)

@hookimpl
def map_postback(postback, source, identity): raise AssertionError("not called yet")

def seen(message, source, campaign):
    said = {"type": message.type, "source": source.name, "campaign": campaign.name}
    return KochavaRequest(
        action="event", kochava_app_id="ko", kochava_device_id="d-1", data=said
    )
"""


@pytest.mark.parametrize("type_", ["track", "identify", "screen", "page", "group", "alias"])
def test_each_call_reaches_its_own_hook_with_everything_promised(
    type_: str, tmp_path: Path
) -> None:
    mapped = dispatcher(tmp_path, vip=EVERY_MAPPING).map(make_message(type_), SOURCE)
    said = {"type": type_, "source": "acme", "campaign": "acme"}
    request_ = KochavaRequest(
        action="event", kochava_app_id="ko", kochava_device_id="d-1", data=said
    )
    assert mapped == Requests((request_,))


def link(**fields: Any) -> str:
    return f"IdentityLink(data={{'a': '1'}}, **{fields!r})"


@pytest.mark.parametrize(
    ("answer", "known", "links"),
    [
        (link(), (), None),
        (link(), (PHONE,), [("koacme-ios", {"idfv": "d-1"})]),
        (link(), (PHONE, TABLET),
         [("koacme-ios", {"idfv": "d-1"}), ("koacme-android", {"adid": "d-2"})]),
        (link(), (Device(None, "d-3", {"x": "d-3"}), Device("ios", "d-4", {})), None),
        (link(kochava_app_id="mine"), (PHONE,), [("mine", {"idfv": "d-1"})]),
        (link(kochava_app_id="mine", device_id={"idfa": "own"}), (PHONE,),
         [("mine", {"idfa": "own"})]),
    ],
    ids=["none known", "one", "two", "none of an app, or without ids", "own app", "own device"],
)  # fmt: skip
def test_a_link_without_device_becomes_one_for_each_known_device(
    answer: str,
    known: tuple[Device, ...],
    links: list[tuple[str, dict[str, str]]] | None,
    tmp_path: Path,
) -> None:
    dispatch = dispatcher(tmp_path, known=known, vip=hook("map_identify", f"return {answer}"))
    mapped = dispatch.map(make_message("identify", user_id="u-1"), SOURCE)
    if links is None:
        assert mapped == Filter("no_device_id")
        return
    wanted = tuple(
        IdentityLink(kochava_app_id=app, device_id=ids, data={"a": "1"}) for app, ids in links
    )
    assert mapped == Requests(wanted)
