"""Checks that what lookups of open sessions go by follows from what is known of them.

A sieve that lacks a bit hides its session from every search for that identifier. It is bound to the sealed fields, so
whoever has no key cannot change it; what was written wrongly, or with a key, is told by making it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.errors import LagrumError
from store.model import Problem
from store.open_sessions.session_reading import opened
from store.open_sessions.session_rows import decode
from store.open_sessions.session_sieve import SessionSieve
from store.open_sessions.session_tables import CLEAR, Sealed

if TYPE_CHECKING:
    from store.store import Store

_WHERE: Final = "an open session"
_PAGE_ROWS: Final = 5_000
_SIEVE: Final = CLEAR.split(", ").index("sieve") - len(CLEAR.split(", "))


def problems(store: Store) -> list[Problem]:
    """Return one problem for each session that does not open, or whose sieve is not that of its fields."""
    found: list[Problem] = []
    sieve, last = SessionSieve(store.keyring), b""
    while rows := store.catalog.query(
        f"SELECT tag, key_ref, sealed, {CLEAR} FROM sessions WHERE tag > ? ORDER BY tag LIMIT ?",  # noqa: S608
        (last, _PAGE_ROWS),
    ):
        last = rows[-1][0]
        plain: list[bytes] = []
        sieves: list[int] = []
        try:
            plain, sieves = opened(store.keyring, [Sealed.of(row) for row in rows]), [row[_SIEVE] for row in rows]
        except LagrumError:
            for row in rows:  # which one it is
                try:
                    plain += opened(store.keyring, [Sealed.of(row)])
                    sieves.append(row[_SIEVE])
                except LagrumError as error:
                    found.append(Problem(_WHERE, error.message))
        if plain:
            made = sieve.of_rows(decode(plain))
            wrong = sum(one != other for one, other in zip(made, sieves, strict=True))
            found += [Problem(_WHERE, "its sieve is not that of its fields: searches may miss it")] * wrong
    return found
