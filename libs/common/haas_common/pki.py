"""The fleet's keys and certificates: two authorities (mesh, edge), a certificate per service, token and artifact keys.

The mesh authority proves services to each other (URI SAN `spiffe://haas/svc/<service>`); the edge authority proves the
edge to clients. Every file is 0600 inside a 0700 folder and is replaced by rename, so that a reader sees the old bytes
or the new ones. Renewal keeps a certificate's private key: one file changes, no reader meets a pair that mismatches.

    <secrets>/authority/{mesh-ca,edge-ca}.{pem,key}  {context,data}.key  {artifact,checkpoint}.pem
                        {jwks,fleet-keys}.json
    <secrets>/edge/{ca.pem,tls.pem,tls.key}  jwks.json  mesh/{ca.pem,tls.pem,tls.key}
    <secrets>/<service>/{ca.pem,tls.pem,tls.key,jwks.json,fleet-keys.json,context.key,data.key}, where needed
                        {token,artifact,checkpoint}.pem
"""

import base64
import dataclasses
import datetime
import hashlib
import ipaddress
import json
import os
import secrets as randomness
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from haas_common.fleet_keys import SET_NAME, FleetKey, kid_of, load_private, read_set, write_set

TRUST_DOMAIN = "haas"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 30
#: A certificate is issued anew when less than this of its life is left.
RENEW_BEFORE = datetime.timedelta(days=10)
#: Whose token.pem signs which tokens: the prefix of the key's id (`kid`).
KID_PREFIX = {"gateway": "gw", "planner": "pl"}
#: Which services hold the private key of a use (haas_common.fleet_keys).
FLEET_SIGNERS = {"artifact": ("orchestrator", "planner", "mcp"), "checkpoint": ("orchestrator",)}
#: Retired token keys that stay readable: tokens live 15 minutes, so two rotations in a row lose nobody.
JWKS_KEYS_PER_ISSUER = 3

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def spiffe_id(service: str) -> str:
    """The service's identity in the mesh, for example "spiffe://haas/svc/planner"."""
    return f"spiffe://{TRUST_DOMAIN}/svc/{service}"


def write_secret(path: Path, data: bytes) -> None:
    """Writes a 0600 file by rename; its folder is made 0700 when it does not exist."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{randomness.token_hex(6)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _write_when_changed(path: Path, data: bytes) -> None:
    """Writes only what differs, so that nobody reloads for nothing."""
    if not path.is_file() or path.read_bytes() != data:
        write_secret(path, data)


def _pem(key: PrivateKey) -> bytes:
    """The private key as unencrypted PKCS#8."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of a file; made when it does not exist."""
    if not path.is_file():
        write_secret(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} holds no elliptic-curve key.")
    return key


def _name(common_name: str) -> x509.Name:
    """A name of the fleet."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HAAS"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    """What authorities and leaves share; valid from an hour ago, for clocks that differ."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    """Authorities sign certificates, leaves sign handshakes."""
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class Authority:
    """A certificate authority kept in two files; made when they do not exist."""

    def __init__(self, folder: Path, name: str) -> None:
        """Opens or creates `<folder>/<name>.pem` and `.key`."""
        self._key = _ec_key(folder / f"{name}.key")
        self.path = folder / f"{name}.pem"
        if not self.path.is_file():
            write_secret(self.path, self._self_signed(f"HAAS {name}"))
        self.pem = self.path.read_bytes()
        self._certificate = x509.load_pem_x509_certificate(self.pem)

    def _self_signed(self, common_name: str) -> bytes:
        """The authority's own certificate; it signs leaves only (path length 0)."""
        public, name = self._key.public_key(), _name(common_name)
        builder = (
            _builder(name, name, public, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(
        self, public: ec.EllipticCurvePublicKey, common_name: str, names: Sequence[x509.GeneralName], days: int
    ) -> bytes:
        """A leaf certificate (PEM) for TLS servers and clients."""
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(_name(common_name), self._certificate.subject, public, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def keeps(self, path: Path, names: Sequence[x509.GeneralName]) -> bool:
        """Whether the file holds a certificate of this authority with these names that lives on for a while."""
        if not path.is_file():
            return False
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        fresh = leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > RENEW_BEFORE
        ours = leaf.issuer == self._certificate.subject and self._signed(leaf)
        return fresh and ours and list(san) == list(names)

    def _signed(self, leaf: x509.Certificate) -> bool:
        """Whether the authority's key identifier stands in the leaf: names repeat when an authority is made anew."""
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        return identifier == x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()).digest


def _issue_files(authority: Authority, folder: Path, name: str, names: Sequence[x509.GeneralName], days: int) -> None:
    """Writes ca.pem, tls.key and tls.pem; what is there and still good stays."""
    key = _ec_key(folder / "tls.key")
    _write_when_changed(folder / "ca.pem", authority.pem)
    if not authority.keeps(folder / "tls.pem", names):
        write_secret(folder / "tls.pem", authority.issue(key.public_key(), name, names, days))


def create_mesh(folder: Path) -> Authority:
    """The authority that proves services to each other."""
    return Authority(folder, "mesh-ca")


def issue_service_cert(mesh: Authority, service: str, folder: Path, days: int = CERTIFICATE_DAYS) -> None:
    """Writes a service's ca.pem, tls.pem and tls.key: its SPIFFE URI, `<service>.haas.internal` and localhost."""
    names = [
        x509.UniformResourceIdentifier(spiffe_id(service)),
        x509.DNSName(f"{service}.haas.internal"),
        x509.DNSName("localhost"),
    ]
    _issue_files(mesh, folder, service, names, days)


def issue_edge_cert(
    folder: Path, authority: Authority, hosts: Iterable[str] = (), days: int = CERTIFICATE_DAYS
) -> None:
    """Writes the edge's ca.pem, tls.pem and tls.key for localhost, the loopback addresses and `hosts`."""
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(("localhost", "127.0.0.1", "::1", *hosts)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    _issue_files(authority, folder, "edge", names, days)


def _b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(public: ec.EllipticCurvePublicKey, prefix: str) -> dict[str, str]:
    """The public key as a JSON Web Key; its id is the prefix and the start of its RFC 7638 thumbprint."""
    point = public.public_numbers()
    core = {"crv": "P-256", "kty": "EC", "x": _b64(point.x.to_bytes(32, "big")), "y": _b64(point.y.to_bytes(32, "big"))}
    digest = hashlib.sha256(json.dumps(core, sort_keys=True, separators=(",", ":")).encode()).digest()
    return {**core, "alg": "ES256", "use": "sig", "kid": f"{prefix}-{_b64(digest)[:16]}"}


def load_token_key(pem: bytes, prefix: str) -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A token's private key and its `kid`.

    Raises:
        TypeError: the file holds another kind of key.
    """
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TypeError("A token's key is an elliptic-curve key on P-256 (ES256).")
    return key, jwk(key.public_key(), prefix)["kid"]


def _publish_jwks(secrets_dir: Path, services: Iterable[str], fresh: Sequence[dict[str, str]]) -> None:
    """Puts `fresh` keys before the known ones and writes the set wherever it is read."""
    path = secrets_dir / "authority" / "jwks.json"
    known: list[dict[str, str]] = json.loads(path.read_bytes())["keys"] if path.is_file() else []
    by_kid = {key["kid"]: key for key in [*fresh, *known]}
    kept: list[dict[str, str]] = []
    for prefix in KID_PREFIX.values():
        mine = [key for kid, key in by_kid.items() if kid.startswith(f"{prefix}-")]
        kept += mine[:JWKS_KEYS_PER_ISSUER]
    data = json.dumps({"keys": kept}, indent=1).encode() + b"\n"
    for folder in ("authority", "edge", *services):
        _write_when_changed(secrets_dir / folder / "jwks.json", data)


def rotate_token_key(
    secrets_dir: Path, service: str, services: Iterable[str], before_use: Callable[[], None] | None = None
) -> str:
    """Gives the issuer ("gateway" or "planner") a new key and returns its id; the old public keys stay in the set.

    The set is published before the key is used: a verifier never meets a token whose key it cannot find.

    Args:
        secrets_dir: the folder of all secrets.
        service: the issuer.
        services: whose folders hold the set.
        before_use: runs between the two, for whoever keeps a copy of the set (the edge: haas_gateway.envoy.write_jwks).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwk(key.public_key(), KID_PREFIX[service])
    _publish_jwks(secrets_dir, services, [public])
    if before_use is not None:
        before_use()
    write_secret(secrets_dir / service / "token.pem", _pem(key))
    return public["kid"]


def _fleet_key(authority: Path, use: str) -> ed25519.Ed25519PrivateKey:
    """The current private key of a use; made when it does not exist."""
    path = authority / f"{use}.pem"
    if not path.is_file():
        write_secret(path, _pem(ed25519.Ed25519PrivateKey.generate()))
    return load_private(path.read_bytes())


def _publish_fleet_keys(secrets_dir: Path, services: Iterable[str], fresh: FleetKey | None = None) -> None:
    """Writes the set wherever it is read: the known keys, the current ones, and `fresh`, which is not in use yet.

    A key that is no longer the current one is marked as retired and stays: what it signed must verify for good.
    """
    authority = secrets_dir / "authority"
    path, now = authority / SET_NAME, datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    known = read_set(path.read_bytes()) if path.is_file() else []
    if fresh is not None:
        known.insert(0, fresh)
    for use in FLEET_SIGNERS:
        public = _fleet_key(authority, use).public_key()
        kid = kid_of(public, use)
        if kid not in {key.kid for key in known}:
            known.insert(0, FleetKey(kid, use, public, now, None))
        if fresh is None:
            others = [key for key in known if key.use == use and key.kid != kid and key.retired_at is None]
            known = [dataclasses.replace(key, retired_at=now) if key in others else key for key in known]
    for folder in ("authority", *services):
        _write_when_changed(secrets_dir / folder / SET_NAME, write_set(known))


def _hand_out_fleet_keys(secrets_dir: Path, services: Iterable[str]) -> None:
    """Copies each current key to the services that sign with it."""
    for use, signers in FLEET_SIGNERS.items():
        private = _pem(_fleet_key(secrets_dir / "authority", use))
        for service in services:
            if service in signers:
                _write_when_changed(secrets_dir / service / f"{use}.pem", private)


def rotate_fleet_key(secrets_dir: Path, use: str, services: Sequence[str]) -> str:
    """Gives a use ("artifact", "checkpoint") a new key and returns its id; every old public key stays in the set.

    Published, then used, then the old one marked: no verifier meets a signature whose key it cannot find, and whatever
    a crash leaves is put right by `write_fleet_secrets`.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    fresh = FleetKey(kid_of(key.public_key(), use), use, key.public_key(), now, None)
    _publish_fleet_keys(secrets_dir, services, fresh)
    write_secret(secrets_dir / "authority" / f"{use}.pem", _pem(key))
    _hand_out_fleet_keys(secrets_dir, services)
    _publish_fleet_keys(secrets_dir, services)
    return fresh.kid


def trust_artifact_keys(secrets_dir: Path, services: Iterable[str], foreign: Iterable[FleetKey]) -> None:
    """Adds another fleet's public artifact keys to the set, retired from now on at the latest.

    What they signed before a history came here verifies; nothing that is recorded later does.
    """
    path, now = secrets_dir / "authority" / SET_NAME, datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    known = read_set(path.read_bytes())
    for key in foreign:
        kid = kid_of(key.public, "artifact")
        if key.use == "artifact" and kid not in {one.kid for one in known}:
            retired_at = min(key.retired_at or now, now)
            known.append(dataclasses.replace(key, kid=kid, retired_at=retired_at))
    for folder in ("authority", *services):
        _write_when_changed(secrets_dir / folder / SET_NAME, write_set(known))


def _random_line() -> bytes:
    """32 bytes as hex, and a line's end."""
    return randomness.token_hex(32).encode() + b"\n"


def rotate_data_key(secrets_dir: Path, services: Iterable[str]) -> Path:
    """Puts a new key before the others in data.key and returns the file; `retire_data_keys` takes the others away.

    Services read the file again when it has changed: from then on the new key wraps, and all of them unwrap.
    """
    path = secrets_dir / "authority" / "data.key"
    write_secret(path, _random_line() + path.read_bytes())
    _hand_out_data_key(secrets_dir, services)
    return path


def retire_data_keys(secrets_dir: Path, services: Iterable[str]) -> None:
    """Leaves in data.key the two newest keys: the one before may still have wrapped something while it was replaced."""
    path = secrets_dir / "authority" / "data.key"
    write_secret(path, b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    _hand_out_data_key(secrets_dir, services)


def _hand_out_data_key(secrets_dir: Path, services: Iterable[str]) -> None:
    data = (secrets_dir / "authority" / "data.key").read_bytes()
    for service in services:
        _write_when_changed(secrets_dir / service / "data.key", data)


def write_fleet_secrets(secrets_dir: Path, services: Sequence[str], edge_hosts: Iterable[str] = ()) -> None:
    """Writes everything that the services and the edge need; safe to repeat.

    Keys stay; a certificate near its end is renewed. What databases need (database.url, valkey.url) is written by who
    starts them.
    """
    secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = secrets_dir / "authority"
    mesh = create_mesh(authority)
    context, data = authority / "context.key", authority / "data.key"
    for path in (context, data):
        if not path.is_file():
            write_secret(path, _random_line())
    issuers = []
    for service in services:
        folder = secrets_dir / service
        issue_service_cert(mesh, service, folder)
        _write_when_changed(folder / "context.key", context.read_bytes())
        if service in KID_PREFIX:
            issuers.append(jwk(_ec_key(folder / "token.pem").public_key(), KID_PREFIX[service]))
    issue_edge_cert(secrets_dir / "edge", Authority(authority, "edge-ca"), edge_hosts)
    issue_service_cert(mesh, "edge", secrets_dir / "edge" / "mesh")
    _publish_jwks(secrets_dir, services, issuers)
    _publish_fleet_keys(secrets_dir, services)
    _hand_out_fleet_keys(secrets_dir, services)
    _hand_out_data_key(secrets_dir, services)
