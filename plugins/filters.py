"""What Kochava must never see: loops, and what the user or the sender has ruled out.

Rows "loop", "integrations" and "consent" of docs/mapping.md. Consent is looked at before the
integrations object, as Segment does.
"""

from typing import Any

from proxy import Message, Source, Track, hookimpl, section, text


@hookimpl
def drop_reason(message: Message, source: Source) -> str | None:
    if _is_our_own(message):
        return "loop"
    if not _consented(message.context, source.consent_categories):
        return "consent"
    if not _wanted(message.integrations):
        return "integrations"
    return None


def _is_our_own(message: Message) -> bool:
    """An "Install Attributed" that this proxy made from Kochava's postback, coming round again."""
    return (
        isinstance(message, Track)
        and message.event == "Install Attributed"
        and (text(message.properties.get("provider")) or "").lower() == "kochava"
    )


def _consented(context: dict[str, Any], categories: tuple[str, ...]) -> bool:
    """Segment's rule: no consent object, no enforcement; otherwise each category must be true,
    and one that is not named counts as false.
    """
    consent = context.get("consent")
    if not categories or not isinstance(consent, dict):
        return True
    preferences = section(consent, "categoryPreferences")
    return all(preferences.get(category) is True for category in categories)


def _wanted(integrations: dict[str, Any]) -> bool:
    """An entry for Kochava decides, else `All`, else yes. Options count as true, null as unsaid."""
    for key in ("Kochava", "All", "all"):
        value = integrations.get(key)
        if value is not None:
            return value is not False
    return True
