"""`screen` and `page` calls: Kochava's standard event "View", with the name in event_data."""

from proxy import (
    Filtered,
    KochavaRequest,
    Page,
    Screen,
    Source,
    event_request,
    hookimpl,
    read_device,
)


@hookimpl
def map_screen(message: Screen, source: Source) -> KochavaRequest:
    return _view(message, source)


@hookimpl
def map_page(message: Page, source: Source) -> KochavaRequest:
    return _view(message, source)


def _view(message: Screen | Page, source: Source) -> KochavaRequest:
    device = read_device(message)
    if device is None:
        raise Filtered("no_device_id")
    fields = dict(message.properties)
    if message.name:
        fields["name"] = message.name
    return event_request(message, source, device, "View", fields)
