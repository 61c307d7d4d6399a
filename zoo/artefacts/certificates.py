"""Verification of signers by certificates: a chain from the signer's certificate to a trusted root."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.artefacts.keys import read_certificates
from zoo.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec


def signing_chain(key: ec.EllipticCurvePrivateKey, certificate: Path, chain: Sequence[Path]) -> tuple[x509.Certificate, ...]:
    """Return the certificates to put into a signature, that of the signer first.

    Raises:
        InputError: a certificate can't be read, belongs to another key, isn't valid today, or isn't for signatures.
    """
    first, *others = read_certificates(certificate)
    if first.public_key() != key.public_key():
        raise InputError(f"the certificate {certificate} belongs to another key; pass the private key for which it was issued")
    found = (first, *others, *(each for path in chain for each in read_certificates(path)))
    _check_dates(found, f"{certificate}")
    _check_purpose(first)
    return found


def verified_signer(chain: Sequence[bytes], roots: Sequence[Path]) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Return the name and the public key in the first certificate of a chain that leads to a root.

    Args:
        chain: certificates in DER form, that of the signer first.
        roots: files of trusted root certificates, in PEM form.

    Raises:
        InputError: a root can't be read, or a certificate isn't valid today.
        ValueError: the chain doesn't lead to a root, or the certificate isn't for signatures with a supported key.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import verification

    trusted = [each for path in roots for each in read_certificates(path)]
    signer, *others = (x509.load_der_x509_certificate(each) for each in chain)
    _check_dates([signer, *others], "the signature")
    ca = verification.ExtensionPolicy.permit_all()
    ca = ca.require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, _is_authority)
    ca = ca.may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _signs_certificates)
    policy = verification.PolicyBuilder().store(verification.Store(trusted)).time(datetime.now(UTC))
    policy = policy.extension_policies(ca_policy=ca, ee_policy=verification.ExtensionPolicy.permit_all())
    try:
        policy.build_client_verifier().verify(signer, others)
    except verification.VerificationError as error:
        raise ValueError(f"the certificate {_name(signer)} doesn't lead to a trusted root: {error}") from error
    _check_purpose(signer)
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise ValueError(f"the certificate {_name(signer)} has a key of another kind than P-256, P-384 and P-521")
    return _name(signer), key


def _is_authority(policy: object, certificate: object, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("a certificate in the chain is not that of an authority")


def _signs_certificates(policy: object, certificate: object, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("a certificate in the chain may not sign certificates")


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"number {certificate.serial_number:x}"


def _check_dates(chain: Sequence[x509.Certificate], where: str) -> None:
    now = datetime.now(UTC)
    for each in chain:
        first, last = each.not_valid_before_utc, each.not_valid_after_utc
        if now > last:
            raise InputError(f"{where}: the certificate {_name(each)} expired on {last:%Y-%m-%d}; sign again with a renewed certificate")
        if now < first:
            raise InputError(f"{where}: the certificate {_name(each)} is valid from {first:%Y-%m-%d} on; check the clock of this machine")


def _check_purpose(certificate: x509.Certificate) -> None:
    """Raise an `InputError` if a certificate isn't for signatures: by its key usage or, without it, by its extended key usage."""
    from cryptography import x509
    from cryptography.x509 import oid

    def extension(kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
        try:
            return certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    usage, purposes = extension(x509.KeyUsage), extension(x509.ExtendedKeyUsage)
    able = isinstance(usage, x509.KeyUsage) and usage.digital_signature
    coding = isinstance(purposes, x509.ExtendedKeyUsage) and oid.ExtendedKeyUsageOID.CODE_SIGNING in purposes
    if not able and not coding:
        raise InputError(
            f"the certificate {_name(certificate)} is not for signatures; expected the key usage digitalSignature, or the extended key "
            "usage codeSigning"
        )
