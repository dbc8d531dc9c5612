"""The key with which the store shows who it is when it pushes: made once, kept sealed, never in the clear on a disk.

    ROOT/deliveries/push.sealed   private key (P-256) and self-signed certificate, PEM, sealed under `cases//push-key/`

An authority takes the self-signed certificate as it is, or issues one of its own for the request; two custodians
register that (`endpoint_client`). A server's TLS library reads keys from files only: it gets one that lives in memory.

Source: RFC 2986 (request), RFC 5280.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from store import AuditEntry, Store
from store.files import lock, make_dir, write_atomic
from store.keys import KeyRef, seal, unseal

CERTIFICATE_DAYS: Final = 3_650
_REF: Final = KeyRef("cases", "", "push-key", "")
_AAD: Final = "push-key"


class PushKey:
    """One store's key for pushing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = store.root / "deliveries"

    def as_dict(self) -> dict[str, Any]:
        """Return what an authority gets: the self-signed certificate with its SHA-256, and a request for another."""
        certificate, key = self._pair()
        request = x509.CertificateSigningRequestBuilder().subject_name(certificate.subject).sign(key, hashes.SHA256())
        return {
            "certificate": certificate.public_bytes(Encoding.PEM).decode("ascii"),
            "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
            "request": request.public_bytes(Encoding.PEM).decode("ascii"),
        }

    def public_bytes(self) -> bytes:
        """Return the public half (SubjectPublicKeyInfo, DER)."""
        return self._pair()[1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def load_into(self, context: ssl.SSLContext, issued: bytes | None) -> None:
        """Let a TLS context present the key under a certificate (DER), or under the self-signed one.

        Raises:
            ssl.SSLError: the certificate is of another key.
        """
        certificate, key = self._pair()
        shown = certificate if issued is None else x509.load_der_x509_certificate(issued)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        handle = os.memfd_create("push", os.MFD_CLOEXEC)
        try:
            os.write(handle, private + shown.public_bytes(Encoding.PEM))
            context.load_cert_chain(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def _pair(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        sealed = self._directory / "push.sealed"
        make_dir(self._directory)
        with lock(self._directory / "lock", exclusive=True, blocking=True):
            if not sealed.exists():
                self._store.keyring.ensure([_REF])
                certificate, key = self._made()
                pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                # Logged before it exists: nothing is pushed under a key that the log does not know.
                public = {"certificate_sha256": certificate.fingerprint(hashes.SHA256()).hex()}
                self._store.log(AuditEntry("disclosure.push-key", public))
                blob = certificate.public_bytes(Encoding.PEM) + pem
                write_atomic(sealed, seal(self._store.keyring.key(_REF), blob, self._aad()))
            plain = unseal(self._store.keyring.key(_REF), sealed.read_bytes(), self._aad())
        private = load_pem_private_key(plain[plain.index(b"-----BEGIN PRIVATE") :], None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(plain), private

    def _made(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.fromtimestamp(self._store.clock.now_us() // 1_000_000, tz=UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._store.store_id)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        return builder.sign(key, hashes.SHA256()), key

    def _aad(self) -> bytes:
        return f"{_AAD}\x00{self._store.store_id}".encode()
