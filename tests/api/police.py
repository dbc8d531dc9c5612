"""An authority with keys of its own, as tests register it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from api.people import authorities
from api.people import authority_register as procedure
from api.people.authorities import Authority, AuthorityKind, Format, Terms
from api.people.persons import Approval
from api.people.signing import PersonKey, Statement
from store import Put, Store
from store.clock import to_text

POLICE = "police-se"


@cache
def encryption_key(name: str = POLICE) -> rsa.RSAPrivateKey:
    """The private key that opens deliveries to `name`; one per test process."""
    assert name
    return rsa.generate_private_key(public_exponent=65_537, key_size=3072)


def certificate(key: Any = None, name: str = POLICE, *, years: tuple[int, int] = (2020, 2045), **usage: bool) -> str:
    """The certificate (PEM) of a private key, valid through all dates that tests use."""
    private = key or encryption_key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime(years[0], 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(years[1], 1, 1, tzinfo=UTC))
    )
    if usage:
        names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        flags = {
            flag: usage.get(flag, False) for flag in (*names.split(), "crl_sign", "encipher_only", "decipher_only")
        }
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@cache
def _der(name: str) -> str:
    return authorities.parse_certificate(certificate(name=name), 1_795_305_600_000_000)


def terms(authority_id: str = POLICE, **changes: Any) -> Terms:
    made = Terms(
        authority_id=authority_id,
        name="Police Authority",
        country="SE",
        organisation="SE-POLICE",
        kind=AuthorityKind.LAW_ENFORCEMENT,
        certificate=_der(POLICE),
        call_back="+46771140000",
        formats=(Format.NDJSON,),
        from_us=0,
        signing_key=PersonKey(authority_id, Ed25519PrivateKey.from_private_bytes(b"\1" * 32)).public_text,
    )
    return replace(made, **changes)


def signed(store: Store, key: PersonKey, action: str, case: str, digest: str) -> Approval:
    time = to_text(store.clock.now_us())
    return Approval(time, key.sign(Statement(action, case, digest, time)))


def register(store: Store, first: PersonKey, second: PersonKey, wanted: Terms) -> Authority:
    """Register as two custodians do."""
    digest, case = wanted.digest(store.store_id), wanted.authority_id
    approval = signed(store, first, procedure.REGISTER_REQUEST, case, digest)
    procedure.request_registration(store, first.person_id, wanted, approval)
    approval = signed(store, second, procedure.REGISTER_CONFIRM, case, digest)
    return procedure.confirm_registration(store, second.person_id, case, approval)


def put(store: Store, wanted: Terms) -> Authority:
    """Put an authority on the register past the procedure, where the register is not what is tested."""
    made = Authority(wanted, authorities.ACTIVE, {})
    store.documents.commit([Put(authorities.KIND, wanted.authority_id, made.to_body())])
    return made
