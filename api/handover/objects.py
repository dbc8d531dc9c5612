"""Our objects as HI-1 knows them. Their UUIDs follow from our own ids, so that they are always the same:

authorisation, task     of the id, where the authority has not chosen one itself
a delivery              of the delivery's id (DeliveryID)
one envelope of it      of "<delivery>/<sequence number>"; the cover's is 0
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Final

from api.handover.ts103120 import DeliveryObject

if TYPE_CHECKING:
    from api.disclosure.deliveries import Delivery
    from api.disclosure.vault import Vault
    from store import Store

KIND: Final = "hi1"
"""Documents that say which case an identifier of the authority's own choice names."""


def object_id(store_id: str, name: str) -> str:
    """Return the identifier (UUID, lower case) of what a store calls `name`."""
    space = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:lagrum:{store_id}")
    return str(uuid.uuid5(space, name))


def envelope_id(store_id: str, delivery_id: str, sequence: int) -> str:
    """Return the identifier of one envelope of a delivery."""
    return object_id(store_id, f"{delivery_id}/{sequence}")


def chosen_names(store: Store) -> dict[str, str]:
    """Return which case each identifier names that an authority chose."""
    return {item.id: item.body["case"] for item in store.documents.list(KIND)}


def identifier_of(store: Store, case: str) -> str:
    """Return the identifier of an authorisation or a task: the authority's own, or ours."""
    chosen = [identifier for identifier, named in chosen_names(store).items() if named == case]
    return chosen[0] if chosen else object_id(store.store_id, case)


def delivery_object(store: Store, vault: Vault, delivery: Delivery, sequence: int) -> DeliveryObject:
    """Return one envelope of a released delivery; a cover that a later release made is of a later generation.

    Raises:
        NotFoundError: the delivery has no such envelope.
        IntegrityError: the envelope is not the one on file.
    """
    data = vault.envelope(delivery, sequence)
    return DeliveryObject(
        envelope_id(store.store_id, delivery.id, sequence),
        delivery.task_id,
        object_id(store.store_id, delivery.id),
        sequence,
        sequence == len(delivery.parts),
        data,
        hashlib.sha256(data).hexdigest(),
        (identifier_of(store, delivery.task_id),),
        generation=1 if sequence else max(delivery.releases, 1),
    )
