"""The procedure of a disclosure, from an authority's order to a fetched delivery.

Steps, each by one role, each one transaction of documents and audit entry (`# (n)` marks the code):

(1)  authorise: the officer files what was decided: basis, reference, targets, window, categories. The basis is the
     version of the decision's day; targets are normalised; what the basis does not permit is refused.
(2)  register: the same officer registers a task within the authorisation.
(3)  check: a case handler, another person, has seen the decision and the normalised targets, and in an emergency has
     called the authority back on its registered number.
(4)  approve: an approver, a third person, signs the digest of exactly what is on file.
(5)  run: the case handler of the case starts the search. All guards hold again, the approval's signature is verified
     again, and the entry is durable in the audit log before the first record is read.
(6)  The rows found are checked again, reduced to permitted fields, packed and signed; only ciphertext is written.
(7)  The result is put on file with its digest. Anything that fails in (6) makes the task Error, never "none found".
(8)  release: an approver, not officer or case handler, signs the result's digest; approving the request was not enough.
(9)  deliver: the officer fetches. The entry is durable before the package leaves; signature and digest are verified.
     Where the authority has registered an endpoint, the service pushes what was released, behind the same guards
     (`pushing`); the officer can fetch it all the same.
(10) reject: case handler or approver, before release; cancel: the officer, before release. A result is destroyed then.
     An emergency under which something has left is not cancelled before it is confirmed.
(11) An officer confirms an emergency or extends an authorisation by a further decision; either side suspends it, and
     the same side lets it go on.
(12) Every refusal of any step is logged with its reason; a refusal that cannot be logged is still a refusal.

Before each step time does what it does (`lapses`): an authorisation expires, and an emergency that the authority has
not confirmed in its time becomes invalid with its tasks.

The steps are in `filing` (1, 2), `approving` (3, 4, 10), `running` (5 to 7), `delivering` (8, 9) and `amending` (11);
`preflight` counts coarsely between (3) and (4); the guards are in `rules`, who may do what next in `states`.

Source: the design's promises 4, 6, 7 and 8; ETSI TS 103 120 (Authorisation, LDTask, Delivery).
"""

from __future__ import annotations

from api.disclosure.amending import Amending
from api.disclosure.approving import Approving
from api.disclosure.delivering import Delivering
from api.disclosure.filing import Filing
from api.disclosure.orders import CalledBack, Order, Ruling, SourceDocument, WrittenTarget
from api.disclosure.preflight import Preflight
from api.disclosure.running import Running
from api.disclosure.step_base import APPROVE_RELEASE, APPROVE_REQUEST

__all__ = [
    "APPROVE_RELEASE",
    "APPROVE_REQUEST",
    "CalledBack",
    "Disclosure",
    "Order",
    "Ruling",
    "SourceDocument",
    "WrittenTarget",
]


class Disclosure(Filing, Approving, Running, Delivering, Amending, Preflight):
    """The procedure over one store."""
