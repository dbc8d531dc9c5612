"""Legal bases of disclosure as data: what an order may ask for, and what may leave.

A basis is a row; a change of the law is a further row with the same id and another period of validity. An order is
judged by the row in force on the day of its decision. Whatever no row permits is refused.

The law seldom names figures: a longest window into the past, a number of targets, an hour. Where it does not, the row
has one all the same, because nothing here is without a bound, and `own_bounds` tells which those are. An operator's
lawyer confirms the table before it is relied upon.

Source: the design's *Disclosure*; the provisions cited in each row.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from schemas.errors import ProcedureError
from schemas.fields import FIELDS, Category
from schemas.holds import HOLD_BASES
from schemas.legal_terms import (
    TARGET_KINDS,
    CustomerNotice,
    Days,
    Deadline,
    Decider,
    Draws,
    EmergencyPath,
    LegalBasis,
)

__all__ = ["BASES", "TARGET_KINDS", "LegalBasis", "basis_on"]

_ALL_BUT_CHARGING: Final = frozenset(Category) - {Category.CHARGING}
_SUBSCRIBER_FIELDS: Final = frozenset(
    {
        "source",
        "record_key",
        "conflict",
        "service_type",
        "start_time",
        "end_time",
        "utc_offset_s",
        "end_inferred",
        "time_ambiguous",
        "source_ip",
        "source_port",
        "nat_ip",
        "nat_port_first",
        "nat_port_last",
        "ipv6_prefix",
        "calling_number",
        "account",
    }
)
_SUBSCRIBER_CATEGORIES: Final = frozenset(
    {Category.RECORD, Category.TIME, Category.ADDRESS, Category.PARTY, Category.CHARGING}
)
# The served side only: a record in which the target was called would give away the caller's account.
_SERVED_SIDE: Final = frozenset({"calling_number", "source_ip", "nat_ip", "ipv6_prefix", "account"})

_CALL_AND_PLACE: Final = frozenset({"calling_number"}) | {
    field.name for field in FIELDS if field.category in (Category.RECORD, Category.TIME, Category.LOCATION)
}

_ANY_TARGET: Final = frozenset(TARGET_KINDS)
_BILLING_FIELDS: Final = next(basis.fields for basis in HOLD_BASES if basis.id == "invoice")
_WHO_PAYS: Final = _SUBSCRIBER_FIELDS & _BILLING_FIELDS

_INVESTIGATING: Final = frozenset({"law-enforcement", "prosecutor", "security-service"})
_ISSUING: Final = frozenset({"court", "prosecutor", "law-enforcement"})

_PRESERVATION_SINCE: Final = {"preservation": date(2012, 7, 1), "epoc-pr": date(2026, 8, 18)}

_SIZE: Final = frozenset({"window_days_max", "targets_max", "overlap", "asked_by"})
"""Bounds that no provision names: the product's."""
_PROMPT: Final = "the law says without delay"
_THREE_WORKING_DAYS: Final = Deadline(_PROMPT, days=3, counts=Days.WORKING)
_SECRECY: Final = "Act 2022:482 ch. 9 ss. 31-32"
_DUTY: Final = "Act 2022:482 ch. 9 ss. 19-22; Directive 2006/24 Art 4"
_E_EVIDENCE: Final = "Regulation (EU) 2023/1543"

_SURVEILLANCE: Final = LegalBasis(
    id="secret-surveillance",
    version=2,
    title="Secret surveillance of electronic communication",
    citation="Code of Judicial Procedure (1942:740; the operator's notice writes 1942:749) ch. 27 ss. 19 and 21",
    decided_by=Decider.COURT,
    target_kinds=_ANY_TARGET,
    categories=_ALL_BUT_CHARGING,
    window_days_max=731,
    targets_max=20,
    customer_notice=CustomerNotice.PROHIBITED,
    notice_citation="Code of Judicial Procedure ch. 27 s. 31: the authority tells; " + _SECRECY,
    effective_from=date(2015, 1, 1),
    draws_on=Draws.DUTY,
    draws_citation=_DUTY,
    asked_by=_INVESTIGATING,
    own_bounds=_SIZE | {"deadline", "emergency.confirm_hours", "emergency.deadline"},
    deadline=_THREE_WORKING_DAYS,
    emergency=EmergencyPath(
        "Code of Judicial Procedure ch. 27 s. 21 a: a prosecutor decides and tells the court without delay",
        Decider.PROSECUTOR,
        confirm_hours=72,
        deadline=Deadline(_PROMPT, hours=8),
    ),
)
_INTELLIGENCE: Final = LegalBasis(
    id="intelligence",
    version=1,
    title="Collection of data in law-enforcement intelligence work",
    citation="Act 2012:278 ss. 1-5",
    decided_by=Decider.AUTHORITY,
    target_kinds=frozenset({"number", "imsi", "imei", "ip"}),
    categories=_ALL_BUT_CHARGING,
    window_days_max=366,
    targets_max=10,
    customer_notice=CustomerNotice.PROHIBITED,
    notice_citation=_SECRECY,
    effective_from=date(2012, 7, 1),
    effective_to=date(2019, 10, 1),
    draws_on=Draws.DUTY,
    draws_citation=_DUTY,
    asked_by=frozenset({"law-enforcement", "security-service"}),
    own_bounds=_SIZE | {"target_kinds", "deadline"},
    deadline=_THREE_WORKING_DAYS,
)
_SUBSCRIBER: Final = LegalBasis(
    id="subscriber-data",
    version=1,
    title="Who held an address or a number",
    citation="Act 2003:389 ch. 6 s. 22",
    decided_by=Decider.AUTHORITY,
    target_kinds=frozenset({"number", "ip", "account"}),
    categories=_SUBSCRIBER_CATEGORIES,
    window_days_max=31,
    targets_max=10,
    customer_notice=CustomerNotice.PROHIBITED,
    notice_citation="Act 2003:389 ch. 6 ss. 20-21",
    effective_from=date(2003, 7, 25),
    effective_to=date(2022, 6, 3),
    draws_on=Draws.DUTY,
    draws_citation="Act 2003:389 ch. 6 ss. 16 a-16 d",
    asked_by=_INVESTIGATING | {"supervisory"},
    own_bounds=_SIZE | {"fields", "match_fields", "deadline"},
    also_decided_by=frozenset({Decider.PROSECUTOR}),  # one of the authorities that the section names
    fields=_SUBSCRIBER_FIELDS,
    match_fields=_SERVED_SIDE,
    deadline=_THREE_WORKING_DAYS,
)
_PRODUCTION: Final = LegalBasis(
    id="european-production-order",
    version=1,
    title="European Production Order for traffic data",
    citation=f"{_E_EVIDENCE} Arts 4(2), 5(4) and 10",
    decided_by=Decider.COURT,
    target_kinds=frozenset({"number", "imsi", "imei", "ip", "account"}),
    categories=_ALL_BUT_CHARGING,
    window_days_max=731,
    targets_max=20,
    customer_notice=CustomerNotice.PROHIBITED,
    notice_citation=f"{_E_EVIDENCE} Art 13: the issuing authority tells",
    effective_from=date(2026, 8, 18),
    draws_on=Draws.DUTY,
    draws_citation=f"{_E_EVIDENCE} Art 5; {_DUTY}",
    asked_by=_ISSUING,
    own_bounds=_SIZE | {"draws_on"},
    deadline=Deadline(f"{_E_EVIDENCE} Art 10(2) and (3)", days=10),
    # For traffic data haste shortens the answer; it never replaces the judge.
    emergency=EmergencyPath(
        f"{_E_EVIDENCE} Art 10(4)",
        Decider.COURT,
        confirm_hours=None,
        deadline=Deadline(f"{_E_EVIDENCE} Art 10(4)", hours=8),
    ),
)

BASES: Final[tuple[LegalBasis, ...]] = (
    replace(
        _SURVEILLANCE,
        version=1,
        effective_from=date(2012, 7, 1),
        effective_to=date(2015, 1, 1),
        own_bounds=_SIZE | {"deadline"},
        emergency=None,  # s. 21 a is of 2015
    ),
    _SURVEILLANCE,
    _INTELLIGENCE,
    replace(
        _INTELLIGENCE,
        version=2,
        citation="Act 2012:278 ss. 1-5, decided by a prosecutor since 1 October 2019",
        decided_by=Decider.PROSECUTOR,
        effective_from=date(2019, 10, 1),
        effective_to=None,
    ),
    _SUBSCRIBER,
    replace(
        _SUBSCRIBER,
        version=2,
        citation="Act 2022:482 ch. 9 s. 33",
        targets_max=20,
        notice_citation=_SECRECY,
        effective_from=date(2022, 6, 3),
        effective_to=None,
        draws_citation=_DUTY,
    ),
    LegalBasis(
        id="missing-person",
        version=1,
        title="Search for a missing person whose life or health is in danger",
        citation="Act 2022:482 ch. 9 s. 33",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "imsi", "imei"}),
        categories=frozenset({Category.RECORD, Category.TIME, Category.PARTY, Category.EQUIPMENT, Category.LOCATION}),
        window_days_max=31,
        targets_max=2,
        customer_notice=CustomerNotice.AFTER_DELIVERY,
        notice_citation="the operator's agreement, 3.1(iv): unless prohibited",
        effective_from=date(2022, 6, 3),
        # The duty's purposes are crimes: what only the duty keeps does not serve a rescue.
        draws_on=Draws.SECURITY,
        draws_citation="Act 2022:482 ch. 9 s. 22, read narrowly: the duty's data serve the bases that the duty names",
        asked_by=frozenset({"law-enforcement", "emergency-service"}),
        own_bounds=_SIZE | {"target_kinds", "categories", "draws_on", "deadline", "emergency"},
        deadline=Deadline(_PROMPT, hours=4),
        emergency=EmergencyPath(
            "Act 2022:482 ch. 9 s. 33: the rescuing authority decides alone; its written decision follows",
            Decider.AUTHORITY,
            confirm_hours=24,
            deadline=Deadline(_PROMPT, hours=1),
        ),
    ),
    LegalBasis(
        id="emergency-call",
        version=1,
        title="Who called the emergency number, and from where",
        citation="Act 2022:482 ch. 9 s. 33; Act (1981:1104) on regional alarm centres",
        decided_by=Decider.AUTHORITY,
        target_kinds=frozenset({"number", "imsi"}),
        categories=frozenset({Category.RECORD, Category.TIME, Category.PARTY, Category.LOCATION}),
        window_days_max=1,
        targets_max=1,
        customer_notice=CustomerNotice.AFTER_DELIVERY,
        notice_citation="the operator's agreement, 3.1(iv): unless prohibited",
        effective_from=date(2022, 6, 3),
        draws_on=Draws.SECURITY,
        draws_citation="Act 2022:482 ch. 9 s. 22, read narrowly: the duty's data serve the bases that the duty names",
        asked_by=frozenset({"emergency-service"}),
        own_bounds=_SIZE | {"target_kinds", "categories", "fields", "match_fields", "draws_on", "deadline"},
        # The caller's side only: whom else the number reached or was reached by is no matter of the alarm centre.
        fields=_CALL_AND_PLACE,
        match_fields=frozenset({"calling_number", "imsi"}),
        deadline=Deadline(_PROMPT, hours=1),
    ),
    LegalBasis(
        id="copyright-information-order",
        version=1,
        title="Information order: which account used an address to infringe",
        citation="Copyright Act (1960:729) ss. 53 c-53 f",
        decided_by=Decider.COURT,
        target_kinds=frozenset({"ip", "account"}),
        categories=frozenset({Category.RECORD, Category.TIME, Category.PARTY, Category.CHARGING}),
        window_days_max=31,
        targets_max=50,
        customer_notice=CustomerNotice.AFTER_DELIVERY,
        notice_citation="Copyright Act (1960:729) ss. 53 c-53 f: after one month, within three",
        notice_days=(31, 89),
        effective_from=date(2009, 4, 1),
        draws_on=Draws.BILLING,
        draws_citation="Directive 2002/58 Arts 6(2) and 15(1); the duty's data do not serve private claims",
        # The court decides, and the information is the applicant's: a rights holder, or who has a licence of one.
        asked_by=frozenset({"rights-holder"}),
        own_bounds=_SIZE | {"fields", "match_fields", "notice_days"},
        fields=_WHO_PAYS,
        match_fields=_SERVED_SIDE,
    ),
    _PRODUCTION,
    replace(
        _PRODUCTION,
        id="european-production-order-subscriber",
        title="European Production Order for subscriber data, or data only to identify the user",
        citation=f"{_E_EVIDENCE} Arts 3(10), 4(1), 5(3) and 10",
        decided_by=Decider.PROSECUTOR,
        also_decided_by=frozenset({Decider.COURT}),
        target_kinds=frozenset({"number", "ip", "account"}),
        categories=_SUBSCRIBER_CATEGORIES,
        window_days_max=31,
        fields=_SUBSCRIBER_FIELDS,
        match_fields=_SERVED_SIDE,
        own_bounds=_SIZE | {"fields", "match_fields", "draws_on"},
        emergency=EmergencyPath(
            f"{_E_EVIDENCE} Art 4(5): validated afterwards, within 48 hours",
            Decider.AUTHORITY,
            confirm_hours=48,
            deadline=Deadline(f"{_E_EVIDENCE} Art 10(4)", hours=8),
        ),
    ),
    *(
        replace(
            _SURVEILLANCE,
            id=hold.id,
            version=1,
            title=f"{hold.title}: records are kept, none leaves",
            citation=hold.citation,
            decided_by=Decider.PROSECUTOR,
            categories=frozenset(),
            fields=frozenset(),
            effective_from=since,
            own_bounds=_SIZE | {"decided_by"},
            deadline=None,
            emergency=None,
            preserves=True,
        )
        for hold in HOLD_BASES
        for since in [_PRESERVATION_SINCE.get(hold.id)]
        if since is not None
    ),
)


def basis_on(basis_id: str, day: date) -> LegalBasis:
    """Return the version of a basis that is the law on `day`.

    Raises:
        ProcedureError: reason `unknown-basis`, or `basis-not-in-force`.
    """
    versions = [basis for basis in BASES if basis.id == basis_id]
    if not versions:
        hint = "`lagrum disclosure bases` lists them"
        raise ProcedureError("there is no such legal basis", reason="unknown-basis", hint=hint)
    for basis in versions:
        if basis.in_force(day):
            return basis
    raise ProcedureError("the legal basis is not in force on the day of the decision", reason="basis-not-in-force")
