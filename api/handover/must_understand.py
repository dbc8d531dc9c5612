"""What of an order by message has to be understood before it is taken: what is not read may limit it. Pure.

An order is compiled from the elements that this side reads. One that says more (a kind of request, a national
parameter, a termination, words for a person to read) would give more than was asked for if the rest were left out, so
it is refused as a whole and filed by a person instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from api.handover.ts103120 import EMERGENCY, TEST, Action, AuthorisationObject, Endpoint, TaskObject
from schemas.errors import InputError, ProcedureError

_ORDER_FLAGS: Final = frozenset({EMERGENCY, TEST})
_TASK_FLAGS: Final = _ORDER_FLAGS | {"IsLocal", "IsNonLocal"}
_OVER: Final = frozenset({"Rejected", "Suspended", "Cancelled", "Expired", "Invalid", "Error"})


def require_understood(thing: AuthorisationObject | TaskObject) -> None:
    """Return when nothing of an object that is created is left unread, and it stands.

    Raises:
        InputError: it says more, or is over before it begins.
    """
    if thing.unread:
        raise InputError("the object says what this side does not read; such an order is filed by a person")
    if set(thing.flags) - (_TASK_FLAGS if isinstance(thing, TaskObject) else _ORDER_FLAGS):
        raise InputError("the object has a flag that this side does not know")
    if {word.value for word in (thing.status, thing.desired_status) if word is not None} & _OVER:
        raise InputError("the object is created in a state in which nothing is done for it")


def require_same_flags(task: TaskObject, *, emergency: bool, is_test: bool) -> None:
    """A task is a test, or an emergency's, when its authorisation is: else a test would read real records.

    Raises:
        InputError: the task says what its authorisation does not.
    """
    if (TEST in task.flags and not is_test) or (EMERGENCY in task.flags and not emergency):
        raise InputError("a task is a test, or an emergency's, when its authorisation is")


def require_addressed(actions: Iterable[Action], receiver: Endpoint) -> None:
    """An object that names operators names the one to whom its message goes.

    Raises:
        ProcedureError: it is another operator's.
    """
    for action in actions:
        named = action.thing.addressed if isinstance(action.thing, AuthorisationObject | TaskObject) else ()
        if named and receiver not in named:
            raise ProcedureError("an object of the message is for another operator", reason="operator")
