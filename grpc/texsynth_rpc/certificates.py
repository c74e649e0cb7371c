"""Certificates: those that the server shows and asks for, and a private CA for a network without one."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import grpc
from mipmap.atomic import atomic_file
from texsynth.errors import bad_input

CA, SERVER, CLIENT = "ca", "server", "client"
DAYS = 825  # what browsers accept at most


@dataclass(frozen=True)
class Certificates:
    """PEM files: the server's chain and key; client_ca: clients must show a certificate of it."""

    chain: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> Any:
        """For `add_secure_port`. Raises TexsynthError for files that cannot be read, or do not belong together."""
        try:
            roots = None if self.client_ca is None else self.client_ca.read_bytes()
            pair = self.key.read_bytes(), self.chain.read_bytes()
        except OSError as error:
            raise bad_input(error.filename or self.key, error.strerror or "cannot be read", "name a PEM file") from None
        self._check()
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)

    def _check(self) -> None:
        """grpc says only that the address cannot be bound."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An empty password, for otherwise the terminal is asked for that of an encrypted key.
            context.load_cert_chain(self.chain, self.key, password="")
        except (ssl.SSLError, ValueError):
            what = f"and {self.key} are no certificate and its unencrypted key"
            raise bad_input(self.chain, what, "give a pair of PEM files that were made together") from None
        try:
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError:
            raise bad_input(self.client_ca or "", "holds no certificate", "give the PEM file of clients' CA") from None


def generate_certificates(folder: Path, names: Sequence[str], days: float = DAYS) -> list[Path]:
    """A new private CA and, signed by it, a certificate for a server of these host names and addresses and one for a
    client, valid for so many days: ca.pem, server.pem, client.pem, and their .key files which only their owner may
    read.

    The CA's key is not kept. Raises TexsynthError where one of the files is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{suffix}" for name in (CA, SERVER, CLIENT) for suffix in (".pem", ".key")]
    paths.remove(folder / f"{CA}.key")
    for path in paths:
        if path.exists():
            raise bad_input(path, "is there already", "name another folder or remove it")
    authority, authority_key = _certificate("texsynth private CA", [], None, days)
    _write(folder / f"{CA}.pem", authority.public_bytes(serialization.Encoding.PEM))
    for name, hosts in ((SERVER, names), (CLIENT, ())):
        made, key = _certificate(f"texsynth {name}", hosts, (authority, authority_key), days)
        _write(folder / f"{name}.pem", made.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(folder / f"{name}.key", secret, 0o600)
    return paths


def _certificate(
    subject: str, hosts: Sequence[str], signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, days: float
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if signer is None else signer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if signer is not None:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer[1].public_key())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(authority, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    return builder.sign(key if signer is None else signer[1], hashes.SHA256()), key


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
