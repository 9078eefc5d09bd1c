"""Apple Search Ads: reads the campaign that Segment's iAd middleware adds to every track call.

The middleware writes the word "unknown" for every value that Apple did not give, and since
February 2023 Apple gives none. A campaign that is all unknown is therefore no campaign: sending
it would attribute every install to Apple.
Source: segmentio/analytics-ios-iads-attribution; Apple's end of iAd, see docs/mapping.md.
"""

from proxy import Campaign, Message, hookimpl, section, text


@hookimpl
def campaign_context(message: Message) -> Campaign | None:
    raw = section(message.context, "campaign")
    if (text(raw.get("source")) or "").lower() != "iad":
        return None
    if (text(raw.get("provider")) or "").lower() != "apple":
        return None
    known = {}
    for field in Campaign.__struct_fields__:
        value = _known(raw.get(field))
        if value is not None:
            known[field] = value
    return Campaign(**known) if set(known) - {"attribution"} else None


def _known(value: object) -> str | None:
    """Ids come as numbers or as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    said = text(value)
    return None if said is None or said.lower() == "unknown" else said
