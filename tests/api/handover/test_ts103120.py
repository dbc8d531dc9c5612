"""Messages of HI-1: what is written validates and reads back; what does not have its form is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.handover import ts103120 as hi1
from api.handover.ts103120_read import read_answers, read_request
from api.handover.ts103120_write import write_answers, write_refusal, write_request
from schemas.errors import InputError
from tests.api.handover.etsi import checked, examples, validated

HEAD = hi1.Head(
    hi1.Endpoint("SE", "POLICE"),
    hi1.Endpoint("SE", "operator"),
    "c02358b2-76cf-4ba4-a8eb-f6436ccaea2e",
    "2026-11-22T12:00:00.000000Z",
)
A, T, D, X = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "1234")
AUTHORISATION = hi1.AuthorisationObject(
    A,
    reference="B 1234-26",
    legal_type=hi1.Word("Lagrum", "AuthorisationLegalType", "secret-surveillance"),
    desired_status=hi1.Word("ETSI", "AuthorisationDesiredStatus", "Approved"),
    status=hi1.Word("ETSI", "AuthorisationStatus", "AwaitingApproval"),
    start="2026-11-20T00:00:00Z",
    end="2026-12-22T00:00:00Z",
    decided_at="2026-11-20T09:00:00+01:00",
    decided_by="court",
    flags=("IsEmergency", "IsTest"),
)
TASK = hi1.TaskObject(
    T,
    ldid="SE-T-7be1d0c4a2963f58",
    status=hi1.Word("ETSI", "LDTaskStatus", "AwaitingApproval"),
    desired_status=hi1.Word("ETSI", "LDTaskDesiredStatus", "AwaitingDisclosure"),
    start="2026-10-01T00:00:00Z",
    end="2026-11-01T00:00:00Z",
    observed="2026-10-03T09:00:00Z",
    values=(hi1.RequestValue("ETSI", "InternationalE164", "46701740007"), hi1.RequestValue("ETSI", "IMEI", "3" * 14)),
    associated=(A,),
    flags=("IsTest",),
)
DOCUMENT = hi1.DocumentObject(D, "application/pdf", b"%PDF \x00\xff", (A,))
DELIVERY = hi1.DeliveryObject(X, "SE-T-7be1d0c4a2963f58", D, 2, True, b"\x30\x82", "ab" * 32, (T,))


def test_a_request_of_every_verb_validates_and_reads_back() -> None:
    actions = [
        hi1.Action(0, "CREATE", thing=AUTHORISATION),
        hi1.Action(1, "CREATE", thing=DOCUMENT),
        hi1.Action(2, "CREATE", thing=TASK),
        hi1.Action(3, "UPDATE", thing=TASK),
        hi1.Action(4, "GET", identifier=T),
        hi1.Action(5, "LIST", kind="LDTask"),
        hi1.Action(6, "LIST"),
        hi1.Action(7, "DELIVER", identifier=X, thing=DELIVERY),
    ]
    head, read = read_request(checked(write_request(HEAD, actions)))
    assert head == HEAD
    assert read == actions


def test_every_answer_validates_and_tells_what_a_push_needs() -> None:
    answers = [
        hi1.Answer(0, "CREATE", A),
        hi1.Answer(1, "UPDATE", T, TASK),
        hi1.Answer(2, "GET", thing=AUTHORISATION),
        hi1.Answer(3, "GET", thing=DELIVERY),
        hi1.Answer(
            4, "LIST", listed=(hi1.Listed("LDTask", T, 3, "SE-T-7be1d0c4a2963f58"), hi1.Listed("Delivery", X, 1, None))
        ),
        hi1.Answer(5, "LIST"),
        hi1.Answer(6, "DELIVER", X),
        hi1.Answer(7, "GET", failure=hi1.Failure(404, "there is no such object & more <")),
    ]
    _, read = read_answers(checked(write_answers(HEAD, answers)))
    assert read[0] == hi1.Answer(0, "CREATE", A)
    assert read[6] == hi1.Answer(6, "DELIVER", X)
    assert read[7].failure == hi1.Failure(404, "refused")
    checked(write_refusal(HEAD, hi1.Failure(400, "no")))
    with pytest.raises(InputError):
        read_answers(write_refusal(HEAD, hi1.Failure(400, "no")))


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_the_standard_s_own_examples_are_read_or_refused_and_never_break_the_reader(path: object) -> None:
    message = path.read_bytes()  # type: ignore[attr-defined]
    try:
        head, actions = read_request(message)
    except InputError:
        _ = None
    else:
        assert head.sender.country == "XX"
        assert {action.verb for action in actions} <= set(hi1.VERBS)


def test_the_standard_s_example_of_a_data_task_reads_as_one() -> None:
    found = [path for path in examples() if path.name == "ldtask.xml"]
    if not found:
        pytest.skip("ETSI's examples of TS 103 120 V1.12.1 are not beside the repository")
    _, actions = read_request(validated(found[0].read_bytes()))
    task = actions[1].thing
    assert isinstance(task, hi1.TaskObject)
    assert [value.name for value in task.values] == ["NRCellIdentity", "TrackingAreaCode", "5GSTMSI"]
    assert task.associated == ("7dbbc880-8750-4d3c-abe7-ea4a17646045",)


REQUEST = write_request(HEAD, [hi1.Action(0, "CREATE", thing=AUTHORISATION), hi1.Action(1, "GET", identifier=T)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HI1Message", b"HI2Message"),
        (hi1.CORE.encode(), b"urn:other"),
        (b"V1.12.1", b"V9.1.1"),
        (b"<core:CountryCode>SE</core:CountryCode>", b"<core:CountryCode>Sweden</core:CountryCode>"),
        (b"c02358b2", b"C02358B2"),
        (T.encode(), b"46701740007"),
        (b"<core:ActionIdentifier>1<", b"<core:ActionIdentifier>0<"),
        (b"<core:ActionIdentifier>1<", b"<core:ActionIdentifier>-1<"),
        (b"core:GET>", b"core:PUT>"),
        (b"<core:GET><core:Identifier>", b"<core:GET><core:Identifier>x</core:Identifier><core:Identifier>"),
        (b"RequestPayload", b"OtherPayload"),
        (b"<core:ETSIVersion>V1.12.1</core:ETSIVersion>", b""),
        (b"<core:CountryCode>SE</core:CountryCode>", b""),
        (b"<core:UniqueIdentifier>operator</core:UniqueIdentifier>", b""),
        (b">operator<", b">" + b"o" * 10_000 + b"<"),
        (b"<core:Timestamp>2026-11-22T12:00:00.000000Z</core:Timestamp>", b""),
        (f"<core:TransactionIdentifier>{HEAD.transaction}</core:TransactionIdentifier>".encode(), b""),
        (b"</core:GET>", b"<core:HI1Object/></core:GET>"),
        (b"<core:ActionIdentifier>1</core:ActionIdentifier>", b""),
        (b"<core:ActionIdentifier>1<", "<core:ActionIdentifier>\u0661<".encode()),
        (b"<core:ActionIdentifier>1<", b"<core:ActionIdentifier>1111111111<"),
    ],
)
def test_a_message_without_its_form_is_refused_and_not_quoted(old: bytes, new: bytes) -> None:
    changed = REQUEST.replace(old, new)
    assert changed != REQUEST
    with pytest.raises(InputError) as refusal:
        read_request(changed)
    assert "46701740007" not in str(refusal.value)


def test_what_is_no_response_is_not_read_as_one() -> None:
    with pytest.raises(InputError):
        read_answers(REQUEST)


def test_too_many_actions_are_refused() -> None:
    actions = [hi1.Action(number, "LIST") for number in range(hi1.ACTIONS_MAX + 1)]
    with pytest.raises(InputError):
        read_request(write_request(HEAD, actions))
    assert len(read_request(write_request(HEAD, actions[:-1]))[1]) == hi1.ACTIONS_MAX
    with pytest.raises(InputError):
        read_request(write_request(HEAD, []))


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.strip() == text and text.isprintable()))
@settings(max_examples=100, deadline=None)
def test_any_reference_and_value_come_back_as_they_were(text: str) -> None:
    task = replace(TASK, values=(hi1.RequestValue("ETSI", "InternationalE164", text),))
    things = [replace(AUTHORISATION, reference=text), task]
    _, read = read_request(write_request(HEAD, [hi1.Action(n, "CREATE", thing=each) for n, each in enumerate(things)]))
    assert [action.thing for action in read] == things


@given(st.integers(0, len(REQUEST) - 1), st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
def test_spliced_messages_are_read_or_refused_in_one_way(place: int, octets: bytes) -> None:
    try:
        read_request(REQUEST[:place] + octets + REQUEST[place + 1 :])
    except InputError:
        return


def test_of_several_approvals_the_latest_is_the_decision_whatever_its_offset() -> None:
    (plain,) = read_request(write_request(HEAD, [hi1.Action(0, "CREATE", thing=AUTHORISATION)]))[1]
    assert plain.thing == AUTHORISATION
    octets = write_request(HEAD, [hi1.Action(0, "CREATE", thing=AUTHORISATION)])
    detail = octets[octets.index(b"<auth:AuthorisationApprovalDetails>") : octets.index(b"<auth:AuthorisationFlags>")]
    later = detail.replace(b"2026-11-20T09:00:00+01:00", b"2026-11-20T08:30:00Z").replace(b"court", b"prosecutor")
    for both in (detail + later, later + detail):
        thing = read_request(octets.replace(detail, both))[1][0].thing
        assert isinstance(thing, hi1.AuthorisationObject)
        assert (thing.decided_at, thing.decided_by) == ("2026-11-20T08:30:00Z", "prosecutor")
