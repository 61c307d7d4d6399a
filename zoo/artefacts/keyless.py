"""Signatures with an identity instead of a key, by Sigstore's public services. They need a network, also for verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zoo.artefacts.keys import require_packages
from zoo.errors import InputError

T = TypeVar("T")
_NETWORK = "Check the network, or sign with a key (--key), which needs none"


def sign_with_identity(payload: bytes, token: str | None, staging: bool) -> str:
    """Sign a statement with the identity of the user, and return the content of the signature file.

    Args:
        payload: statement.
        token: identity token (OpenID Connect); None for that of the environment, such as GitHub Actions, or else a log-in
            in a browser.
        staging: whether to use Sigstore's services for tests.

    Raises:
        InputError: the services can't be reached, or refuse the identity.
    """
    require_packages("sigstore")
    from sigstore.dsse import Statement
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    def sign() -> str:
        trust = _trust(staging)
        known = token or detect_credential()
        identity = IdentityToken(known) if known else Issuer(trust.signing_config.get_oidc_url()).identity_token()
        with SigningContext.from_trust_config(trust).signer(identity) as signer:
            return str(signer.sign_dsse(Statement(payload)).to_json())

    return _reached(sign, "sign")


def verified_payload(text: str, identity: str, issuer: str, staging: bool) -> bytes:
    """Verify a signature that was made with an identity, and return the signed statement.

    Args:
        text: content of the signature file.
        identity: expected identity, such as an e-mail address.
        issuer: expected issuer of the identity (OpenID Connect), a URL.
        staging: whether the signature was made with Sigstore's services for tests.

    Raises:
        InputError: Sigstore's keys can't be fetched.
        ValueError: the signature isn't valid for the identity.
    """
    require_packages("sigstore")
    from sigstore.errors import VerificationError
    from sigstore.models import Bundle, InvalidBundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    verifier = _reached(lambda: Verifier(trusted_root=_trust(staging).trusted_root), "verify")
    try:
        _, payload = verifier.verify_dsse(Bundle.from_json(text), Identity(identity=identity, issuer=issuer))
    except (VerificationError, InvalidBundle) as error:
        raise ValueError(str(error)) from error
    return bytes(payload)


def _trust(staging: bool) -> Any:
    from sigstore.models import ClientTrustConfig

    return ClientTrustConfig.staging() if staging else ClientTrustConfig.production()


def _reached(call: Callable[[], T], what: str) -> T:
    """Call a function that uses Sigstore's services, and convert its errors, which may be of any class."""
    try:
        return call()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"Sigstore can't be used to {what} ({type(error).__name__}: {reason}). {_NETWORK}") from error
