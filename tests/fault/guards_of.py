"""Which modules hold guards, and which tests notice when one is missing: the tables of `mutate_guards`."""

from __future__ import annotations

from typing import Final

CASES: Final = "api/disclosure"
PROCEDURE: Final = tuple(
    f"{CASES}/test_{name}.py"
    for name in (
        "deciders",
        "second_locks",
        "guards",
        "matrix",
        "states",
        "procedure",
        "changing",
        "preflight",
        "delivery",
    )
)
MESSAGES: Final = tuple(f"api/handover/test_{name}.py" for name in ("hi1", "understood", "retained", "doors"))
PUSHES: Final = (f"{CASES}/test_stopped_pushes.py", f"{CASES}/test_pushing.py")
ENVELOPES: Final = (
    f"{CASES}/test_package.py",
    f"{CASES}/test_edits.py",
    "api/handover/test_opening.py",
    "api/handover/test_envelope.py",
)
CERTIFICATES: Final = tuple(f"api/people/test_{name}.py" for name in ("auth", "bindings", "mixed_proofs"))
KEPT: Final = "store/retention"
RETENTION: Final[dict[str, tuple[str, ...]]] = {
    "store.retention.expiry": (
        "store/test_siblings.py",
        *(f"{KEPT}/test_{name}.py" for name in ("expiry", "expiry_steps", "holds", "promised", "floor", "clockguard")),
    ),
    "store.retention.moving": (f"{KEPT}/test_moves.py", f"{KEPT}/test_promised.py"),
    "store.retention.erasing": (f"{KEPT}/test_erasing.py",),
    "store.retention.rewriting": (f"{KEPT}/test_erasing.py", f"{KEPT}/test_moves.py"),
    "store.retention.holds": ("store/test_siblings.py", f"{KEPT}/test_holds.py", f"{KEPT}/test_promised.py"),
    "store.retention.promised": (f"{KEPT}/test_promised.py",),
    "store.retention.policies": (f"{KEPT}/test_policies.py",),
    "store.retention.clockguard": (f"{KEPT}/test_clockguard.py",),
    "store.retention.clocktrust": (f"{KEPT}/test_clocktrust.py", f"{KEPT}/test_clockguard.py"),
    "store.retention.certificates": (f"{KEPT}/test_certificate_notes.py", f"{KEPT}/test_certificates.py"),
    "store.retention.certificate_check": tuple(
        f"{KEPT}/test_{name}.py" for name in ("certificate_notes", "certificates", "hold_certificates")
    ),
    "api.custody.holds": ("api/custody/test_holds.py",),
    "api.custody.clock": ("api/custody/test_clock.py",),
    "api.custody.policy": ("api/custody/test_policy.py",),
    "api.custody.corrections": ("api/custody/test_corrections.py",),
    "schemas.policy": ("schemas/test_policy.py",),
}
"""The guards of retention: floor, holds, clock, policy, two persons."""
MODULES: Final[dict[str, tuple[str, ...]]] = {
    **RETENTION,
    **{
        f"api.disclosure.{name}": PROCEDURE
        for name in (
            "states",
            "steps",
            "filing",
            "approving",
            "changing",
            "running",
            "delivering",
        )
    },
    "api.disclosure.preflight": (f"{CASES}/test_tenants.py", *PROCEDURE),
    "api.disclosure.views": (f"{CASES}/test_shown.py", *PROCEDURE),
    "api.disclosure.casebook": PROCEDURE,
    "api.disclosure.rules": (f"{CASES}/test_preserved.py", *PROCEDURE),
    "api.disclosure.selection": (f"{CASES}/test_selection.py", *PROCEDURE),
    "api.disclosure.targets": (f"{CASES}/test_targets.py", f"{CASES}/test_tenants.py", *PROCEDURE),
    "api.disclosure.search": (f"{CASES}/test_too_many.py", f"{CASES}/test_tenants.py"),
    "api.disclosure.hits": (f"{CASES}/test_too_many.py",),
    "api.disclosure.lapses": PROCEDURE,
    "api.disclosure.notices": (f"{CASES}/test_worklist.py", *PROCEDURE),
    "api.disclosure.overtaken": (f"{CASES}/test_overtaken.py", *PROCEDURE),
    "api.disclosure.subscribers": (f"{CASES}/test_subscribers.py",),
    "api.disclosure.open_sessions": (f"{CASES}/test_too_many.py",),
    "api.disclosure.completeness": (f"{CASES}/test_completeness.py", f"{CASES}/test_printing.py"),
    "api.disclosure.lookups": (f"{CASES}/test_reports.py",),
    "api.disclosure.reports": (f"{CASES}/test_reports.py",),
    "api.disclosure.told": (f"{CASES}/test_reports.py",),
    "api.custody.record_corrections": ("api/custody/test_correct.py",),
    "api.custody.subjects": (f"{CASES}/test_subjects.py",),
    "api.custody.subject_records": (f"{CASES}/test_subjects.py",),
    "api.disclosure.preserved": (f"{CASES}/test_preserved.py", *PROCEDURE),
    "api.disclosure.vault": (f"{CASES}/test_vault.py", *PROCEDURE, *ENVELOPES),
    "api.disclosure.package": ENVELOPES,
    "api.handover.opening": ENVELOPES,
    "api.handover.hi1": MESSAGES,
    "api.handover.retained": MESSAGES,
    "api.disclosure.pushing": PUSHES,
    "api.people.persons": (*PROCEDURE, "api/people/test_persons.py", "api/people/test_signing.py"),
    "api.people.custodians": (
        "api/people/test_custodians.py",
        "api/people/test_authorities.py",
        "api/people/test_persons.py",
        "api/custody/test_holds.py",
    ),
    "api.people.bindings": ("api/people/test_bindings.py", "api/people/test_oidc.py"),
    "api.people.authority_register": ("api/people/test_authorities.py", "api/handover/test_doors.py"),
    "api.people.client_certificates": ("api/people/test_credential_book.py", *CERTIFICATES),
    "api.people.credentials": ("api/people/test_credential_book.py", *CERTIFICATES),
    "api.people.auth": ("api/people/test_auth.py",),
    "api.people.oidc": ("api/people/test_oidc.py",),
    "api.people.authenticator": (
        "api/people/test_auth.py",
        "api/people/test_oidc.py",
        "api/people/test_mixed_proofs.py",
        "api/people/test_logins.py",
    ),
    "api.people.authority_endpoint": ("api/people/test_authorities.py",),
    "api.people.enrolment": tuple(
        f"api/people/test_{name}.py" for name in ("custodians", "persons", "brought_back", "authorities", "bootstrap")
    ),
    "api.people.roles": ("api/people/test_roles.py",),
    "api.people.authorities": (*PROCEDURE, "api/people/test_authorities.py"),
    "api.people.signing": ("api/people/test_signing.py", *PROCEDURE),
}
"""Module -> the tests that belong to it."""
ONLY: Final[dict[str, tuple[str, ...]]] = {
    "api.people.persons": ("verify_approval", "find_active", "may_act"),
    "api.people.authorities": ("require", "require_officer", "encryption_certificate"),
    "api.people.signing": ("verify",),
    "api.disclosure.casebook": ("basis", "document"),
    "api.disclosure.vault": ("envelope", "envelopes", "signing_key"),
}
"""Of these modules only some functions are guards of the procedure."""
