"""A certificate authority of the tests, and clients that show what it issued."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from store import tls


def client_context(ca: Path, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    """Return what a caller connects with: whom it trusts, and its certificate and key."""
    made = tls.client_context(ca)
    if pair is not None:
        made.load_cert_chain(*pair)
    return made


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What Python's own contexts look for since 3.13."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


class Ca:
    """An authority of the test; a bare one names neither keys nor what they are for."""

    def __init__(self, folder: Path, name: str, *, is_bare: bool = False) -> None:
        self._folder, self._is_bare, self._key = folder, is_bare, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        self._write(self.path, self.certificate(self._name, self._key, is_ca=True))

    def issue(
        self, name: str, *, file_name: str = "", usage: x509.ObjectIdentifier | None = None, days: int = 1
    ) -> tuple[Path, Path, x509.Certificate]:
        """Return files of a certificate and its key, and the certificate; it is good for `usage` alone, if any."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self.certificate(subject, key, usage=usage, days=days)
        paths = self._folder / f"{file_name or name}.pem", self._folder / f"{file_name or name}.key"
        self._write(paths[0], certificate)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(private)
        return *paths, certificate

    def certificate(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        is_ca: bool = False,
        usage: x509.ObjectIdentifier | None = None,
        days: int = 1,
    ) -> x509.Certificate:
        """Return a certificate that ends in so many days."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if not self._is_bare:
            own, issuers = key.public_key(), self._key.public_key()
            builder = (
                builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers), critical=False)
                .add_extension(_usage(signs_certificates=is_ca), critical=True)
            )
        return builder.sign(self._key, hashes.SHA256())

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
