"""The test cluster's certificates: one authority, and one for each identity (CN is the user, O the group)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = dt.timedelta(days=30)
NAMES = ("localhost", "node", "kubernetes.default.svc")
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


class Authority:
    """A certificate authority in a folder, made when it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / "ca.crt").exists():
            self._make()
        self._key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        self._own = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())

    def _make(self) -> None:
        key = self.key("ca")
        subject = _name("debugrun-test", ())
        builder = _builder(subject, subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        (self.folder / "ca.crt").write_bytes(_pem(builder.sign(key, hashes.SHA256())))

    def key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """A new private key, kept as NAME.key, readable to its owner only."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return key

    def issue(self, name: str, user: str, groups: Sequence[str] = (), *, server: bool = False) -> None:
        """NAME.key and NAME.crt of a user, or of a server on loopback."""
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = _builder(_name(user, groups), self._own.subject, self.key(name).public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            names = [x509.IPAddress(LOOPBACK), *(x509.DNSName(each) for each in NAMES)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        (self.folder / f"{name}.crt").write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    words = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups]
    return x509.Name([*words, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(hours=1),
        not_valid_after=now + LIFE,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
