"""The asking of a hook's plugins: in pluggy's order and to its rules, but prepared once, since
pluggy's own call costs more than what most plugins then do.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pluggy

from proxy.mapping.hookspecs import parameters

#: Asks, given what the hook is given, in the order of its parameters.
Ask = Callable[..., Any]
#: Of what a hook is given, what one function wants, in its order.
Take = Callable[[tuple[object, ...]], tuple[object, ...]]


def first_answer(caller: pluggy.HookCaller) -> Ask:
    """Asks one after the other for the first answer that is not None. Where a wrapper stands
    around them, pluggy itself asks.
    """
    if any(each.wrapper for each in caller.get_hookimpls()):
        names = parameters(caller.name)
        return lambda *given: caller(**dict(zip(names, given, strict=True)))
    asked = implementations(caller)[::-1]

    def ask(*given: object) -> Any:
        for each, take in asked:
            answer = each.function(*take(given))  # looked up now: a listener may stand there
            if answer is not None:
                return answer
        return None

    return ask


def implementations(caller: pluggy.HookCaller) -> tuple[tuple[pluggy.HookImpl, Take], ...]:
    """The functions that plugins have for a hook, in loading order."""
    names = parameters(caller.name)
    return tuple((each, _take(each, names)) for each in caller.get_hookimpls())


def _take(implementation: pluggy.HookImpl, names: tuple[str, ...]) -> Take:
    places = [names.index(name) for name in implementation.argnames]
    if len(places) > 1:
        return itemgetter(*places)
    # Of one place itemgetter answers no tuple, but of a slice; without any it cannot be made.
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))
