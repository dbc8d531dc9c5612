"""Challenges and sessions of people, in memory only: a restart ends every session.

A challenge costs no memory until it is used: it carries its own expiry under a key that lives as long as the process.
Only the challenges of successful log-ins are remembered, until they expire, so that none works twice; a failed attempt
does not burn a challenge, it counts against the person and the peer (`api.people.throttle`).
Tokens are kept as SHA-256: they are 256 random bits, so a fast hash is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import Counter
from dataclasses import dataclass
from typing import Final

from store.clock import Clock

_NONCE_BYTES: Final = 16
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Session:
    """One logged-in person; `expires_us` is UTC microseconds."""

    person_id: str
    key_id: str
    expires_us: int


class Challenges:
    """Makes and redeems challenges."""

    def __init__(self, clock: Clock, *, seconds: int, used_max: int) -> None:
        self._clock = clock
        self._lifetime_us = seconds * 1_000_000
        self._used_max = used_max
        self._key = secrets.token_bytes(32)
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def issue(self) -> tuple[str, int]:
        """Return a new challenge and when it expires, in UTC microseconds."""
        expires_us = self._clock.now_us() + self._lifetime_us
        payload = secrets.token_bytes(_NONCE_BYTES) + expires_us.to_bytes(_TIME_BYTES, "big")
        return urlsafe_b64encode(payload + self._mac(payload)).decode("ascii"), expires_us

    def open_until_us(self, challenge: str) -> int | None:
        """Return when the challenge expires; None when it is not ours, expired or used."""
        expires_us = self._expiry(challenge)
        if not _is_open(expires_us, self._clock.now_us(), self._lifetime_us) or challenge in self._used:
            return None
        return expires_us

    def redeem(self, challenge: str) -> bool:
        """Use the challenge up; False when it is not open (any more) or too many are in use."""
        now_us = self._clock.now_us()
        expires_us = self._expiry(challenge)
        with self._lock:
            if not _is_open(expires_us, now_us, self._lifetime_us) or challenge in self._used:
                return False
            if len(self._used) >= self._used_max:
                self._used = {used: until for used, until in self._used.items() if until > now_us}
                if len(self._used) >= self._used_max:
                    return False
            self._used[challenge] = expires_us
            return True

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_MAC_BYTES]

    def _expiry(self, challenge: str) -> int:
        """Return when the challenge expires; 0 when it is not ours or not spelled as we spell it."""
        try:
            raw = urlsafe_b64decode(challenge.encode("ascii"))
        except (Base64Error, ValueError):
            return 0
        if urlsafe_b64encode(raw).decode("ascii") != challenge:
            return 0
        payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            return 0
        return int.from_bytes(payload[_NONCE_BYTES:], "big")


class Sessions:
    """The sessions that are open."""

    def __init__(self, clock: Clock, *, seconds: int, entries_max: int) -> None:
        self._clock = clock
        self._lifetime_us = seconds * 1_000_000
        self._entries_max = entries_max
        self._entries: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def open(self, person_id: str, key_id: str) -> tuple[str, Session]:
        """Return the bearer token of a new session; beyond the limit the oldest one of who has most ends."""
        token = secrets.token_urlsafe(32)
        now_us = self._clock.now_us()
        session = Session(person_id, key_id, now_us + self._lifetime_us)
        with self._lock:
            self._entries = {digest: other for digest, other in self._entries.items() if other.expires_us > now_us}
            while len(self._entries) >= self._entries_max:
                held = Counter(other.person_id for other in self._entries.values())
                most = max(held.values())  # who opens many ends his own, and nobody else's
                self._entries.pop(next(key for key, other in self._entries.items() if held[other.person_id] == most))
            self._entries[_digest(token)] = session
        return token, session

    def find(self, token: str) -> Session | None:
        """Return the session of a token; None when there is none, or it is over."""
        session = self._entries.get(_digest(token))
        if session is None or not _is_open(session.expires_us, self._clock.now_us(), self._lifetime_us):
            return None
        return session

    def close(self, token: str) -> None:
        """End one session."""
        with self._lock:
            self._entries.pop(_digest(token), None)

    def close_all_of(self, person_id: str) -> None:
        """End every session of a person."""
        with self._lock:
            self._entries = {digest: other for digest, other in self._entries.items() if other.person_id != person_id}

    def __len__(self) -> int:
        return len(self._entries)


def _is_open(expires_us: int, now_us: int, lifetime_us: int) -> bool:
    """Tell whether what lives for `lifetime_us` lives; a clock that was set back lengthens no life."""
    return 0 < expires_us - now_us <= lifetime_us


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
