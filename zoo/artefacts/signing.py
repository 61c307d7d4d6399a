"""Sign folders and files, and verify their signatures, in the format of OpenSSF Model Signing (https://github.com/sigstore/model-transparency).

The upstream command `model_signing` accepts these signatures, and `zoo.verify` accepts those of the upstream command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from zoo.artefacts import certificates, keyless, keys
from zoo.artefacts.bundle import Bundle, check_overwritable, signed
from zoo.artefacts.encryption import is_encrypted
from zoo.artefacts.manifest import Manifest, compare, make
from zoo.errors import InputError, SignatureError
from zoo.system.files import write_text
from zoo.system.wording import look_at

SIGNATURE = "model.sig"
_MODEL = "model.json"
NotBefore = int | datetime


@dataclass(frozen=True)
class Signed:
    """A verified signature.

    Attributes:
        path: the signed folder or file.
        signature: file of the signature.
        signer: who has signed: the hint of a public key, the subject of a certificate, or an identity.
        version: version that the signer has given; None if the signature has none.
        date: when it was signed, according to the signer; None if the signature doesn't contain it.
        files: paths of the signed files in the folder; a single file has the path ".".
    """

    path: Path
    signature: Path
    signer: str
    version: int | None
    date: datetime | None
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dict."""
        when = None if self.date is None else self.date.isoformat()
        about = {"path": str(self.path), "signature": str(self.signature), "signer": self.signer}
        return {**about, "version": self.version, "date": when, "files": list(self.files)}


def sign(
    path: str | Path,
    key: str | Path | None = None,
    *,
    passphrase: str | None = None,
    certificate: str | Path | None = None,
    chain: Sequence[str | Path] = (),
    sigstore: bool = False,
    identity_token: str | None = None,
    staging: bool = False,
    signature: str | Path | None = None,
    version: int | None = None,
) -> Signed:
    """Sign a saved or exported model, or any other folder or file.

    The signature covers the name and the content of every file, also of hidden ones. Sign again after each change of the folder, such as
    `zoo.tune`.

    Args:
        path: folder or file. For the folder of a run, the model in its subfolder `model` is signed.
        key: private key in a PEM file, on the curve P-256, P-384 or P-521.
        passphrase: passphrase of the key, if it is encrypted.
        certificate: certificate of the key in a PEM file, with which others can verify the signature without knowing the key.
        chain: PEM files with the certificates between `certificate` and a root.
        sigstore: whether to sign with the identity of the user instead of a key, by Sigstore's public services, which needs a network.
        identity_token: identity token for `sigstore`; None for that of the environment, or a log-in in a browser.
        staging: whether to use Sigstore's services for tests.
        signature: file for the signature; by default `model.sig` in a folder, and the name of a file with `.sig` appended. An existing
            signature is replaced.
        version: version of the artefact, which protects from replacing it by an older one (`not_before` of `zoo.verify` and `zoo.load`);
            None for the version of the signature that is replaced plus 1, or else 1.

    Returns:
        The signature.

    Raises:
        InputError: the key can't be used, a certificate has expired or belongs to another key, the folder contains a link, or the file for
            the signature is something else.

    Example:
        >>> import pathlib, tempfile, zoo
        >>> from cryptography.hazmat.primitives import serialization as form
        >>> from cryptography.hazmat.primitives.asymmetric import ec
        >>> place, key = pathlib.Path(tempfile.mkdtemp()), ec.generate_private_key(ec.SECP256R1())
        >>> private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        >>> public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        >>> _ = (place / "key.pem").write_bytes(private), (place / "key.pub").write_bytes(public)
        >>> folder = zoo.save(zoo.build("resnet20", classes=["cat", "dog"]), place / "model")
        >>> zoo.sign(folder, place / "key.pem").files
        ('model.json', 'weights.safetensors')
        >>> zoo.verify(folder, place / "key.pub").version
        1
    """
    keys.require_packages()
    if sigstore == (key is not None):
        raise InputError("expected one way to sign: a private key (--key), or the identity of the user (--sigstore)")
    if (certificate is not None or chain or passphrase is not None) and key is None:
        raise InputError("a certificate and a passphrase belong to a private key; pass it as well (--key)")
    if chain and certificate is None:
        raise InputError("a chain belongs to a certificate; pass the signer's certificate as well (--certificate)")
    target, place = _places(path, signature)
    private = None if key is None else keys.read_private_key(key, passphrase)
    given = () if private is None or certificate is None else certificates.signing_chain(private, Path(certificate), [*map(Path, chain)])
    before = check_overwritable(place)
    manifest = make(target, place, _next_version(version, before, place), datetime.now(UTC).replace(microsecond=0))
    payload = manifest.to_statement()
    if private is None:
        text, signer = keyless.sign_with_identity(payload, identity_token, staging), "Sigstore"
    else:
        text, signer = signed(payload, private, given), keys.hint(private.public_key())
    write_text(place, text)
    return Signed(target, place, signer, manifest.version, manifest.date, tuple(manifest.digests))


def verify(
    path: str | Path,
    key: str | Path | None = None,
    *,
    certificate_roots: Sequence[str | Path] = (),
    identity: str | None = None,
    issuer: str | None = None,
    staging: bool = False,
    signature: str | Path | None = None,
    not_before: int | str | date | datetime | None = None,
) -> Signed:
    """Verify the signature of a folder or file, without reading its content in any other way than hashing it.

    Pass one way to identify the signer: `key`, `certificate_roots`, or `identity` with `issuer`.

    Args:
        path: folder or file. For the folder of a run, the model in its subfolder `model` is verified.
        key: public key in a PEM file.
        certificate_roots: PEM files of root certificates, one of which must have certified the signer.
        identity: identity that has signed with Sigstore, such as an e-mail address. This needs a network.
        issuer: issuer of the identity, such as https://accounts.google.com.
        staging: whether Sigstore's services for tests were used.
        signature: file of the signature; by default as for `zoo.sign`.
        not_before: lowest version that is accepted, or earliest date: a number, a date, or a text such as "3" or "2026-11-30".

    Returns:
        The signature, with signer, version and date.

    Raises:
        SignatureError: the artefact isn't signed, was signed by someone else or before `not_before`, or a file was added, removed, renamed
            or changed. `findings` lists the files.
        InputError: a key or certificate can't be read or has expired, or the network can't be reached.
    """
    keys.require_packages()
    if [key is not None, bool(certificate_roots), identity is not None].count(True) != 1:
        raise InputError("expected one way to verify: a public key (--key), --certificate-roots, or --identity with --issuer")
    if (identity is None) != (issuer is None):
        raise InputError("--identity and --issuer belong together; pass both, such as --identity me@example.org --issuer https://…")
    public = None if key is None else keys.read_public_key(key)
    least = parse_not_before(not_before)
    target, place = _places(path, signature)
    if signature is not None and not place.is_file():
        raise InputError(f"the signature {place} does not exist. {look_at(place)}")
    if not place.exists() and is_encrypted(target):
        raise InputError(
            f"{target} is encrypted. The signature of the model is in it: verify it with zoo info {target} --trust enforce, --trusted-keys "
            "and --identity"
        )
    bundle = Bundle.read(place)
    try:
        if public is not None:
            signer, payload = check_key(bundle, place, {keys.hint(public): (str(key), public)}), bundle.payload
        elif identity is not None and issuer is not None:
            signer, payload = identity, keyless.verified_payload(bundle.text, identity, issuer, staging)
        else:
            signer, payload = _check_certificate(bundle, [*map(Path, certificate_roots)]), bundle.payload
        manifest = _manifest(payload)
    except InputError:
        raise
    except ValueError as error:
        raise SignatureError(f"{place}: {error}", place) from error
    check_release(manifest, least, place)
    raise_findings(target, compare(target, place, manifest).findings)
    return Signed(target, place, signer, manifest.version, manifest.date, tuple(manifest.digests))


def check_key(bundle: Bundle, place: Path, known: dict[str, tuple[str, Any]]) -> str:
    """Check a signature with the public keys by hint, and return the hint of that which has signed.

    Raises:
        SignatureError: it wasn't signed with one of the keys, or was changed afterwards.
    """
    if bundle.key is None:
        raise SignatureError(f"{place} was not signed with a key, but with a certificate or an identity", place)
    if bundle.key:
        if bundle.key not in known:
            names = ", ".join(name for name, _ in known.values())
            raise SignatureError(f"{place}: unknown signer: its key {bundle.key[:16]}… is none of: {names}", place)
        candidates = [bundle.key]
    else:
        candidates = [*known]  # old versions of the upstream command don't name the key
    for each in candidates:
        if bundle.signed_by(known[each][1]):
            return each
    raise SignatureError(f"{place}: the signature is invalid: it was changed, or belongs to other content", place)


def verified_manifest(bundle: Bundle, place: Path) -> Manifest:
    """Return the signed list of files. Raise a `SignatureError` if the signed content has another form."""
    try:
        return _manifest(bundle.payload)
    except ValueError as error:
        raise SignatureError(f"{place}: {error}", place) from error


def check_release(manifest: Manifest, least: NotBefore | None, place: Path) -> None:
    """Raise a `SignatureError` if an artefact is older than the lowest version or date that is accepted."""
    if least is None:
        return
    found = manifest.version if isinstance(least, int) else manifest.date
    kind = "version" if isinstance(least, int) else "date"
    if found is None:
        raise SignatureError(f"{place} contains no {kind}, which --not-before requires; sign again with zoo sign", place)
    if found < least:  # type: ignore[operator]  # both are numbers, or both dates
        raise SignatureError(f"{place}: rolled back: its {kind} is {found}, but --not-before is {least}", place)


def raise_findings(path: Path, findings: tuple[str, ...]) -> None:
    """Raise a `SignatureError` that lists the files that differ from the signed ones, if there are any."""
    if findings:
        shown = [*findings[:20], *([f"… and {len(findings) - 20} more"] if len(findings) > 20 else [])]
        raise SignatureError(f"{path} is not what was signed: {'; '.join(shown)}", path, findings)


def parse_not_before(value: int | str | date | datetime | None) -> NotBefore | None:
    """Return the version or the date in UTC. Raise an `InputError` for another value."""
    if isinstance(value, str):
        if value.isascii() and value.isdecimal():
            return int(value)
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(f"--not-before is {value!r}; expected a version such as 3, or a date such as 2026-11-30") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value


def _manifest(payload: bytes) -> Manifest:
    try:
        return Manifest.from_statement(payload)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the signed statement has another form ({type(error).__name__}: {error})") from error


def _check_certificate(bundle: Bundle, roots: Sequence[Path]) -> str:
    """Return the name of the signer. Raise a `ValueError` if the certificate isn't trusted, or the signature is invalid."""
    if not bundle.chain:
        raise ValueError("the signature contains no certificates; verify it with --key")
    signer, key = certificates.verified_signer(bundle.chain, roots)
    if not bundle.signed_by(key):
        raise ValueError("the signature is invalid: it was changed, or belongs to other content")
    return signer


def _places(path: str | Path, signature: str | Path | None) -> tuple[Path, Path]:
    """Return the folder or file that is signed, and the file of its signature, both without links."""
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist. {look_at(path)}")
    if path.is_dir() and not (path / _MODEL).is_file() and (path / "model" / _MODEL).is_file():
        path = path / "model"  # the model of a run
    path = path.resolve()
    if signature is not None:
        place = Path(signature).expanduser()
        if place.is_dir():
            raise InputError(f"--signature {place} is a folder; expected a file")
        return path, place.parent.resolve() / place.name
    return path, path / SIGNATURE if path.is_dir() else path.with_name(f"{path.name}.sig")


def _next_version(asked: int | None, before: Bundle | None, place: Path) -> int:
    """Return the version for a signature, which is above that of the signature that it replaces."""
    known = 0
    if before is not None:
        try:
            known = _manifest(before.payload).version or 0
        except ValueError:  # signed content of another kind has no version
            known = 0
    if asked is None:
        return known + 1
    if asked <= known:
        raise InputError(f"--version is {asked}, but the signature {place} has the version {known}; pass a higher one")
    return asked
