"""Nkeys and `.creds` files against a real broker; what is none is refused, and never shown."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ingest.jetstream import JetStream, JetStreamSettings
from ingest.nats_keys import USER, KeyClient, NatsKey, encoded
from schemas.errors import ConfigurationError, PermissionsError
from tests.api.world import CSV
from tests.ingest.broker import STREAM, running
from tests.patience import PATIENCE_S

OPERATOR, ACCOUNT, SEED = 14 << 3, 0, 18 << 3


def seed_of(data: bytes, kind: int = USER) -> str:
    return encoded(SEED | kind >> 5, bytes([(kind & 31) << 3]) + data)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


class Signer:
    """An operator's or an account's key, which signs tokens for those below it."""

    def __init__(self, prefix: int) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.public = encoded(prefix, self._private.public_key().public_bytes_raw())

    def token(self, subject: str, kind: str, **more: Any) -> str:
        claims = {"iat": 1, "iss": self.public, "sub": subject, "nats": {"type": kind, "version": 2, **more}}
        claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
        body = ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
        signature = base64.urlsafe_b64encode(self._private.sign(body.encode())).decode().rstrip("=")
        return f"{body}.{signature}"


def taken(url: str, file: Path) -> int:
    queue = JetStream(JetStreamSettings(url, STREAM, "lagrum", credentials_file=file))
    try:
        return len(queue.fetch(messages_max=1, bytes_max=1 << 20, wait_s=PATIENCE_S))
    finally:
        queue.close()


def test_a_key_of_the_specification_is_read() -> None:
    # The pair that the nkeys project uses in its documentation.
    key = NatsKey("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n")
    assert key.public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
    assert "SUAC" not in repr(key)


def test_an_nkey_opens_the_queue_and_another_does_not(tmp_path: Path) -> None:
    seed = seed_of(secrets.token_bytes(32))
    with running(tmp_path / "broker", f"authorization {{ users: [ {{ nkey: {NatsKey(seed).public} }} ] }}") as broker:
        broker.publish([CSV], client=KeyClient(NatsKey(seed)), user_credentials="ours")
        assert taken(broker.url, written(tmp_path / "seed", seed + "\n")) == 1
        with pytest.raises(ConfigurationError, match="refuses"):
            taken(broker.url, written(tmp_path / "other", seed_of(secrets.token_bytes(32))))


def test_a_creds_file_opens_the_queue_and_one_of_another_account_does_not(tmp_path: Path) -> None:
    operator, account, stranger = Signer(OPERATOR), Signer(ACCOUNT), Signer(ACCOUNT)
    seed = seed_of(secrets.token_bytes(32))

    def creds(by: Signer) -> str:
        token = by.token(NatsKey(seed).public, "user", subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n*** keep it secret ***\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )

    limits = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1}
    storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "wildcards": True}
    system = Signer(ACCOUNT).public
    more = (
        f"operator: {operator.token(operator.public, 'operator')}\nsystem_account: {system}\nresolver: MEMORY\n"
        "resolver_preload: {\n"
        f"{system}: {operator.token(system, 'account', limits=limits)}\n"
        f"{account.public}: {operator.token(account.public, 'account', limits={**limits, **storage})}\n}}\n"
    )
    with running(tmp_path / "broker", more) as broker:
        broker.publish([CSV], client=KeyClient(NatsKey(creds(account))), user_credentials="ours")
        assert taken(broker.url, written(tmp_path / "mine", creds(account))) == 1
        with pytest.raises(ConfigurationError, match="refuses"):
            taken(broker.url, written(tmp_path / "strange", creds(stranger)))


@pytest.mark.parametrize("change", ["cut", "letter", "account", "words"])
def test_what_is_no_key_of_a_user_is_refused_and_not_shown(tmp_path: Path, change: str) -> None:
    seed = seed_of(bytes(range(32)))
    text = {
        "cut": seed[:-1],
        "letter": seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:],
        "account": seed_of(bytes(range(32)), ACCOUNT),
        "words": "lagrum\nsecret-word\n",
    }[change]
    settings = JetStreamSettings("nats://127.0.0.1:1", STREAM, "lagrum", credentials_file=written(tmp_path / "x", text))
    with pytest.raises(ConfigurationError, match="no NATS user's key") as told:
        settings.nats_key()
    assert text[:12] not in str(told.value) + repr(settings)


def test_a_key_that_others_can_read_or_that_stands_beside_a_login_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "x", seed_of(bytes(32)))
    with pytest.raises(ConfigurationError, match="not several"):
        JetStreamSettings("nats://127.0.0.1:1", STREAM, "lagrum", login_file=file, credentials_file=file)
    file.chmod(0o644)
    with pytest.raises(PermissionsError):
        JetStreamSettings("nats://127.0.0.1:1", STREAM, "lagrum", credentials_file=file).nats_key()
