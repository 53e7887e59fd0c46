"""A certificate authority made in the test process: good, expired, self-signed and wrong certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Authority:
    """Signs server certificates; `pem` is what a client must trust."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    pem: str

    def server_context(self, *, names: tuple[str, ...], expired: bool = False) -> ssl.SSLContext:
        """Return a server-side context with a certificate for these DNS names or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(
            subject=names[0],
            public_key=key.public_key(),
            issuer=self.certificate.subject,
            signing_key=self.key,
            names=names,
            days=(-20, -10) if expired else (-1, 30),
        )
        return _context(key, made)


@cache
def authority() -> Authority:
    """Return this process's own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Test Authority")
    made = _certificate(
        subject="Test Authority", public_key=key.public_key(), issuer=name, signing_key=key, is_authority=True
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    return Authority(key=key, certificate=made, pem=pem)


def self_signed_context(name: str) -> ssl.SSLContext:
    """Return a server-side context whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _certificate(
        subject=name, public_key=key.public_key(), issuer=_name(name), signing_key=key, names=(name,)
    )
    return _context(key, made)


def _certificate(
    *,
    subject: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signing_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...] = (),
    days: tuple[int, int] = (-1, 30),
    is_authority: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        entries = [_general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _context(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context
