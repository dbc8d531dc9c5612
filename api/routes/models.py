"""What requests carry, as documented in the OpenAPI; fields that are not documented are refused."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from api.people.persons import Approval

_SIGNATURE: Final = (
    "Vm9pZCB1bnRpbCBzaWduZWQgYnkgdGhlIHBlcnNvbiB3aG8gc2VuZHMgdGhpcyByZXF1ZXN0LCBvdmVyIHRoZSBzdGF0ZW1lbnQ="
)


class Model(BaseModel):
    """The base: nothing that is not documented, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ApprovalModel(Model):
    """A person's signature under a statement: canonical JSON of action, case, digest and time; see Log in."""

    time: Annotated[str, Field(max_length=40, examples=["2026-11-22T12:00:00.000000Z"])]
    signature: Annotated[str, Field(max_length=128, description="Ed25519, base64", examples=[_SIGNATURE[:88]])]

    def value(self) -> Approval:
        """Return it as the procedure takes it."""
        return Approval(self.time, self.signature)


ERRORS: Final[dict[int | str, dict[str, object]]] = {
    "4XX": {
        "description": "Refused; RFC 9457 problem details.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
    "5XX": {
        "description": "Not done; 503 with Retry-After may be tried again.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}

PROBLEM_SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "urn:lagrum:problem:WORD"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do next."},
        "reason": {"type": "string", "description": "A stable word, where the procedure refuses."},
        "position": {"type": "integer", "description": "1-based position of the record, where it is known."},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
