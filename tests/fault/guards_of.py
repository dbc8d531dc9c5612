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
        "amending",
        "extending",
        "preflight",
        "delivery",
    )
)
MESSAGES: Final = tuple(f"api/handover/test_{name}.py" for name in ("hi1", "must_understand", "retained", "doors"))
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
        *(
            f"{KEPT}/test_{name}.py"
            for name in ("expiry", "expiry_steps", "holds", "commitments", "floor", "clockguard")
        ),
    ),
    "store.retention.reclassified_erasure": (f"{KEPT}/test_reclassification.py", f"{KEPT}/test_commitments.py"),
    "store.retention.erasing": (f"{KEPT}/test_erasing.py",),
    "store.retention.rewriting": (f"{KEPT}/test_erasing.py", f"{KEPT}/test_reclassification.py"),
    "store.retention.holds": ("store/test_siblings.py", f"{KEPT}/test_holds.py", f"{KEPT}/test_commitments.py"),
    "store.retention.commitments": (f"{KEPT}/test_commitments.py",),
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
KEYS: Final = tuple(
    f"store/keys/test_{name}.py" for name in ("sealing", "refusals", "behaviour", "replicas", "held_roots")
)
AUDIT: Final = "store/audit"
WITNESSED: Final = (f"{AUDIT}/test_cosign.py", f"{AUDIT}/test_checkpoint.py", "api/test_witness.py")
SWEPT: Final = ("api/test_sweep.py",)
CORRECTING: Final = ("store/correcting/test_overlay.py", "store/correcting/test_held_corrections.py")
KEPT_APART: Final[dict[str, tuple[str, ...]]] = {
    **{
        f"store.keys.{name}": KEYS
        for name in ("refs", "roots", "ringfile", "keyring", "keyring_copies", "transit", "modules", "pkcs11")
    },
    "store.keys.sealing": ("store/keys/test_sealing.py",),
    "store.audit.entries": (f"{AUDIT}/test_entries.py", f"{AUDIT}/test_log.py", f"{AUDIT}/test_verify.py"),
    "store.audit.log": (f"{AUDIT}/test_log.py", f"{AUDIT}/test_watch.py", f"{AUDIT}/test_faults.py"),
    "store.audit.tail": (
        f"{AUDIT}/test_log.py",
        f"{AUDIT}/test_faults.py",
        f"{AUDIT}/test_single_faults.py",
        f"{AUDIT}/test_watch.py",
        f"{AUDIT}/test_shut.py",
    ),
    "store.audit.segments": tuple(
        f"{AUDIT}/test_{name}.py" for name in ("entries", "log", "verify", "faults", "single_faults")
    ),
    "store.audit.reading": (f"{AUDIT}/test_log.py", f"{AUDIT}/test_verify.py", f"{AUDIT}/test_single_faults.py"),
    "store.audit.merkle": (f"{AUDIT}/test_merkle.py",),
    "store.audit.checkpoint": (f"{AUDIT}/test_checkpoint.py", f"{AUDIT}/test_verify.py"),
    "store.audit.cosign": (f"{AUDIT}/test_cosign.py",),
    "store.audit.submission": (f"{AUDIT}/test_cosign.py",),
    "store.audit.epochs": (
        f"{AUDIT}/test_epochs.py",
        f"{AUDIT}/test_log.py",
        f"{AUDIT}/test_verify.py",
        f"{AUDIT}/test_watch.py",
    ),
    "store.audit.fold": (f"{AUDIT}/test_fold.py", f"{AUDIT}/test_verify.py", f"{AUDIT}/test_single_faults.py"),
    "store.audit.expiring": (
        f"{AUDIT}/test_expiring.py",
        f"{AUDIT}/test_single_faults.py",
    ),
    "store.audit.verify": (
        f"{AUDIT}/test_verify.py",
        f"{AUDIT}/test_expiring.py",
        f"{AUDIT}/test_verify_beside.py",
        f"{AUDIT}/test_single_faults.py",
    ),
    "store.audit.watch": (f"{AUDIT}/test_watch.py", f"{AUDIT}/test_expiring.py", f"{AUDIT}/test_single_faults.py"),
    "store.audit.bundle": ("api/disclosure/test_edits.py",),
    "store.correcting.corrections": CORRECTING,
    "store.correcting.rectified": CORRECTING,
    "api.witness": WITNESSED,
    "api.witness_server": WITNESSED,
}
"""The guards of the keys, of the log and of corrections, below the procedure."""
DOORS: Final[dict[str, tuple[str, ...]]] = {
    "api.access_middleware": (
        "api/people/test_auth.py",
        "api/test_sweep.py",
        "api/people/test_mixed_proofs.py",
        "api/people/test_logins.py",
        "api/people/test_door.py",
        "api/test_server.py",
        "api/intake/test_deliver.py",
    ),
    "api.tls": ("api/test_server.py", "api/people/test_mixed_proofs.py"),
    "api.settings": ("api/test_settings.py", "api/people/test_oidc.py"),
    "api.people.sessions": ("api/people/test_sessions.py", "api/people/test_auth.py"),
    "api.people.authority_keys": ("api/people/test_authorities.py",),
    "api.people.bootstrap": ("api/people/test_bootstrap.py",),
    "api.handover.must_understand": MESSAGES,
    "api.handover.ts103120_read": ("api/handover/test_ts103120.py", *MESSAGES),
    "api.handover.ts102657_read": ("api/handover/test_retained.py", *MESSAGES),
    "api.handover.markup": ("api/handover/test_markup.py", *MESSAGES),
    "api.handover.envelope": ENVELOPES,
    "api.handover.push_line": ("api/handover/test_doors.py", *PUSHES),
    "api.intake.delivery": ("api/intake/test_deliver.py", "api/intake/test_pushes.py"),
    "api.intake.body": ("api/intake/test_body.py", "api/intake/test_deliver.py"),
    "api.intake.push_door": ("api/intake/test_push_protocol.py", "api/intake/test_pushes.py"),
    "api.intake.push_protocol": ("api/intake/test_push_protocol.py",),
    **{
        f"api.routes.{name}": SWEPT
        for name in (
            "authorities",
            "clock",
            "corrections",
            "credentials",
            "holds",
            "logins",
            "persons",
            "policy",
            "record_corrections",
            "sources",
            "subjects",
            "usage",
        )
    },
    "api.routes.audit": (*SWEPT, "api/test_public_proofs.py"),
    "api.routes.cdrs": (*SWEPT, "api/intake/test_deliver.py", "api/intake/test_pushes.py"),
    "api.routes.health": (*SWEPT, "api/people/test_auth.py", "api/test_server.py"),
    "api.routes.sessions": (*SWEPT, "api/people/test_auth.py", "api/people/test_door.py"),
    "api.routes.disclosure": (f"{CASES}/test_service.py", *SWEPT),
    "api.routes.handover": ("api/handover/test_doors.py", *SWEPT),
    "api.routes.reports": (f"{CASES}/test_reports.py", *SWEPT),
    "api.routes.worklist": (f"{CASES}/test_worklist.py", *SWEPT),
}
"""The guards in front of the procedure: who comes in, and what a message says."""
MODULES: Final[dict[str, tuple[str, ...]]] = {
    **RETENTION,
    **KEPT_APART,
    **DOORS,
    **{
        f"api.disclosure.{name}": PROCEDURE
        for name in (
            "states",
            "step_base",
            "filing",
            "approving",
            "amending",
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
    "api.disclosure.sliced_scan": (f"{CASES}/test_too_many.py",),
    "api.disclosure.lapses": PROCEDURE,
    "api.disclosure.notices": (f"{CASES}/test_worklist.py", *PROCEDURE),
    "api.disclosure.outdated_marks": (f"{CASES}/test_outdated_marks.py", *PROCEDURE),
    "api.disclosure.subscribers": (f"{CASES}/test_subscribers.py",),
    "api.disclosure.open_sessions": (f"{CASES}/test_too_many.py",),
    "api.disclosure.completeness": (f"{CASES}/test_completeness.py", f"{CASES}/test_printing.py"),
    "api.disclosure.lookups": (f"{CASES}/test_reports.py",),
    "api.disclosure.reports": (f"{CASES}/test_reports.py",),
    "api.disclosure.case_history": (f"{CASES}/test_reports.py",),
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
    "api.people.oidc": ("api/people/test_oidc.py", "api/people/test_oidc_keys.py"),
    "api.people.authenticator": (
        "api/people/test_auth.py",
        "api/people/test_oidc.py",
        "api/people/test_mixed_proofs.py",
        "api/people/test_logins.py",
        "api/people/test_door.py",
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
ENDING: Final = frozenset({"api.access_middleware", "api.people.sessions"})
"""Modules whose guards refuse by an early end, not by an error."""
