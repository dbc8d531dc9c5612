"""The UUIDs under which HI-1 knows our objects: each follows from our own id, so that it is always the same.

authorisation, task     of the id, where the authority has not chosen one itself
a delivery              of the delivery's id (DeliveryID)
one envelope of it      of "<delivery>/<sequence number>"; the cover's is 0
"""

from __future__ import annotations

import uuid


def object_id(store_id: str, name: str) -> str:
    """Return the identifier (UUID, lower case) of what a store calls `name`."""
    space = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:lagrum:{store_id}")
    return str(uuid.uuid5(space, name))


def envelope_id(store_id: str, delivery_id: str, sequence: int) -> str:
    """Return the identifier of one envelope of a delivery."""
    return object_id(store_id, f"{delivery_id}/{sequence}")
