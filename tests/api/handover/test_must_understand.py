"""An order by message is taken when all of it is understood; what is not read may limit it."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from api.handover import ts103120 as hi1
from api.handover.hi1 import Exchange
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from schemas.errors import ProcedureError
from tests.api.disclosure.conftest import Court, shared_court
from tests.api.handover.etsi import checked
from tests.api.handover.test_hi1 import codes, head, order

__all__ = ["shared_court"]


def creates(**changes: object) -> tuple[hi1.Action, hi1.Action]:
    authorisation, task = order()
    return hi1.Action(0, "CREATE", thing=replace(authorisation, **changes)), hi1.Action(1, "CREATE", thing=task)


def sent(court: Court, old: str, new: str) -> list[int | None]:
    """Send an order with one more element in it; it is a message of the standard all the same."""
    message = write_request(head(), creates())
    changed = message.replace(old.encode(), new.encode(), 1)
    assert changed != message
    answer = Exchange(court.store).answer(court.actor("officer-1"), checked(changed))
    return [item.failure.code if item.failure else None for item in read_answers(answer)[1]]


KIND = (
    "<task:{0}><common:Owner>SE</common:Owner><common:Name>RequestType</common:Name>"
    "<common:Value>SubscriberData</common:Value></task:{0}>"
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<task:RequestDetails>", "<task:RequestDetails>" + KIND.format("Type")),
        (
            "</task:RequestDetails>",
            "<task:Subtype>" + KIND.format("RequestSubtype") + "</task:Subtype></task:RequestDetails>",
        ),
        ("</task:RequestDetails>", "</task:RequestDetails>" + KIND.format("HandlingProfile")),
        (
            "<auth:AuthorisationApprovalDetails>",
            "<auth:AuthorisationTerminationTimestamp>2026-11-21T00:00:00Z</auth:AuthorisationTerminationTimestamp>"
            "<auth:AuthorisationApprovalDetails>",
        ),
        (
            "</auth:AuthorisationApprovalDetails>",
            "</auth:AuthorisationApprovalDetails>"
            "<auth:AuthorisationManualInformation>short messages only</auth:AuthorisationManualInformation>",
        ),
    ],
)
def test_an_order_that_says_more_than_is_read_is_not_taken(shared_court: Court, old: str, new: str) -> None:
    before = len(shared_court.procedure.casebook.tasks())
    assert None not in sent(shared_court, old, new)
    assert len(shared_court.procedure.casebook.tasks()) == before


def test_what_changes_nothing_of_an_order_is_no_hindrance(shared_court: Court) -> None:
    entity = "<auth:AuthorisationLegalEntity>Region West</auth:AuthorisationLegalEntity>"
    end = "</auth:AuthorisationApprovalDetails>"
    assert sent(shared_court, end, end + entity) == [None, None]


def test_a_test_or_an_emergency_is_one_for_its_authorisation_and_its_tasks(shared_court: Court) -> None:
    """A task marked as a test, under an authorisation that is none, would read real records."""
    court = shared_court
    for flag in (hi1.TEST, hi1.EMERGENCY):
        authorisation, task = order()
        marked = replace(task, flags=(flag,))
        both = [hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=marked)]
        assert codes(court, *both) == [400, 404]
        both[1] = hi1.Action(1, "CREATE", thing=task)
        assert codes(court, *both) == [None, None]
        later = replace(marked, identifier=str(uuid.uuid4()))
        assert codes(court, hi1.Action(0, "CREATE", thing=later)) == [400]
    authorisation, task = order()
    both = [
        hi1.Action(0, "CREATE", thing=replace(authorisation, flags=(hi1.TEST,))),
        hi1.Action(1, "CREATE", thing=replace(task, flags=(hi1.TEST, "IsLocal"))),
    ]
    assert codes(court, *both) == [None, None]


def test_an_approval_in_haste_makes_an_emergency(shared_court: Court) -> None:
    stamp = "</common:ApprovalTimestamp>"
    assert sent(shared_court, stamp, stamp + "<common:ApprovalIsEmergency>true</common:ApprovalIsEmergency>") == [
        None,
        None,
    ]
    newest = shared_court.procedure.casebook.authorisations()[-1]
    (made,) = [item for item in shared_court.procedure.casebook.authorisations() if item.emergency]
    assert made.confirm_by_us is not None
    assert newest.filed_at_us == made.filed_at_us


@pytest.mark.parametrize("word", ["Cancelled", "Suspended", "Expired", "Invalid"])
def test_what_is_over_is_not_created(shared_court: Court, word: str) -> None:
    for name in ("status", "desired_status"):
        told = hi1.Word("ETSI", "AuthorisationStatus", word)
        assert codes(shared_court, *creates(**{name: told}))[0] == 400
    assert codes(shared_court, *creates(flags=("IsConsensual",)))[0] == 400


def test_an_order_for_another_operator_is_not_taken(shared_court: Court) -> None:
    def named(operator: str) -> str:
        return (
            "<auth:AuthorisationCSPID><auth:CSPID><core:CountryCode>SE</core:CountryCode>"
            f"<core:UniqueIdentifier>{operator}</core:UniqueIdentifier></auth:CSPID></auth:AuthorisationCSPID>"
        )

    begin = "<auth:AuthorisationApprovalDetails>"
    assert sent(shared_court, begin, named("operator") + begin) == [None, None]
    with pytest.raises(ProcedureError) as refusal:
        sent(shared_court, begin, named("another") + begin)
    assert refusal.value.reason == "operator"


@pytest.mark.parametrize(
    ("owner", "value"), [("ETSI", "0701740007"), ("ETSI", "+46701740007"), ("ETSI", "112"), ("3GPP", "46701740007")]
)
def test_an_international_number_is_one(shared_court: Court, owner: str, value: str) -> None:
    authorisation, task = order()
    odd = replace(task, values=(hi1.RequestValue(owner, "InternationalE164", value),))
    both = hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=odd)
    assert codes(shared_court, *both)[0] == 400


def answered(court: Court, *things: hi1.Thing) -> list[int | None]:
    """Send what is created without a look at the schemas: who sends may not have looked either."""
    message = write_request(head(), [hi1.Action(number, "CREATE", thing=thing) for number, thing in enumerate(things)])
    answer = Exchange(court.store).answer(court.actor("officer-1"), message)
    return [item.failure.code if item.failure else None for item in read_answers(answer)[1]]


@pytest.mark.parametrize("name", ["legal_type", "end", "decided_at"])
def test_an_order_that_does_not_say_enough_is_not_taken(shared_court: Court, name: str) -> None:
    authorisation, task = order()
    assert answered(shared_court, replace(authorisation, **{name: None}), task) == [400, 404]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["start", "end"])
def test_a_task_without_a_start_or_an_end_is_not_taken(shared_court: Court, name: str) -> None:
    authorisation, task = order()
    assert answered(shared_court, authorisation, replace(task, **{name: None})) == [400, 400]  # type: ignore[arg-type]
    assert answered(shared_court, authorisation) == [400], "an order of no task has no window"


def test_a_task_that_comes_later_is_of_one_order_and_understood(shared_court: Court) -> None:
    authorisation, task = order()
    other, its_task = order()
    assert answered(shared_court, authorisation, task, other, its_task) == [None] * 4
    again = replace(task, identifier=str(uuid.uuid4()))
    for changes in (
        {"associated": ()},
        {"associated": (authorisation.identifier, other.identifier)},
        {"flags": ("IsConsensual",)},
    ):
        assert answered(shared_court, replace(again, **changes)) == [400], changes  # type: ignore[arg-type]
    assert answered(shared_court, again) == [None]
