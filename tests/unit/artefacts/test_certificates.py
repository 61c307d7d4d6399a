"""Signers with certificates, and signers with an identity at Sigstore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import zoo
from tests.unit.artefacts.signatures import CURVES, issue, write_keys, write_private
from zoo.errors import InputError, SignatureError


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A root, an intermediate authority, and the certificates of signers, with their keys."""
    folder = tmp_path_factory.mktemp("authority")
    keys = {name: ec.generate_private_key(curve) for name, curve in zip(("root", "middle", "ann"), CURVES.values(), strict=True)}
    for name in ("expired", "useless", "evil"):
        keys[name] = ec.generate_private_key(ec.SECP256R1())
    made: dict[str, Any] = {"root": issue(folder / "root.crt", keys["root"], authority=True)}
    made["middle"] = issue(folder / "middle.crt", keys["middle"], (made["root"], keys["root"]), authority=True)
    for name, options in {"ann": {}, "expired": {"days": -2}, "useless": {"signs": False}}.items():
        made[name] = issue(folder / f"{name}.crt", keys[name], (made["middle"], keys["middle"]), **options)  # type: ignore[arg-type]
    issue(folder / "evil.crt", keys["evil"], (made["ann"], keys["ann"]))  # ann is no authority
    issue(folder / "other.crt", ec.generate_private_key(ec.SECP256R1()), authority=True)
    for name, key in keys.items():
        write_private(folder / f"{name}.pem", key)
    return folder, keys


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("{}")
    return tmp_path / "report"


def test_a_chain_to_a_trusted_root_is_verified(authority: tuple[Path, Any], report: Path) -> None:
    folder, _ = authority
    zoo.sign(report, folder / "ann.pem", certificate=folder / "ann.crt", chain=[folder / "middle.crt"])
    assert zoo.verify(report, certificate_roots=[folder / "other.crt", folder / "root.crt"]).signer == "CN=ann"
    with pytest.raises(SignatureError, match="the certificate CN=ann doesn't lead to a trusted root"):
        zoo.verify(report, certificate_roots=[folder / "other.crt"])
    with pytest.raises(SignatureError, match="was not signed with a key, but with a certificate or an identity"):
        zoo.verify(report, write_keys(report.parent)[1])
    (report / "report.json").write_text("[]")
    with pytest.raises(SignatureError, match=r"report\.json was changed"):
        zoo.verify(report, certificate_roots=[folder / "root.crt"])


def test_a_missing_link_and_a_false_authority_are_refused(authority: tuple[Path, Any], report: Path) -> None:
    folder, _ = authority
    zoo.sign(report, folder / "ann.pem", certificate=folder / "ann.crt")
    with pytest.raises(SignatureError, match="doesn't lead to a trusted root"):
        zoo.verify(report, certificate_roots=[folder / "root.crt"])
    zoo.sign(report, folder / "evil.pem", certificate=folder / "evil.crt", chain=[folder / "ann.crt", folder / "middle.crt"])
    with pytest.raises(SignatureError, match="the certificate CN=evil doesn't lead to a trusted root"):
        zoo.verify(report, certificate_roots=[folder / "root.crt"])


def test_certificates_that_cannot_sign(authority: tuple[Path, Any], report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = authority
    with pytest.raises(InputError, match=r"the certificate CN=expired expired on .*; sign again with a renewed certificate"):
        zoo.sign(report, folder / "expired.pem", certificate=folder / "expired.crt")
    with pytest.raises(InputError, match="the certificate CN=useless is not for signatures"):
        zoo.sign(report, folder / "useless.pem", certificate=folder / "useless.crt")
    with pytest.raises(InputError, match=r"ann\.crt belongs to another key"):
        zoo.sign(report, folder / "middle.pem", certificate=folder / "ann.crt")
    assert not (report / "model.sig").exists()


def test_certificates_that_expire_after_signing(authority: tuple[Path, Any], report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = authority
    with monkeypatch.context() as patch:
        patch.setattr("zoo.artefacts.certificates._check_dates", lambda chain, where: None)
        zoo.sign(report, folder / "expired.pem", certificate=folder / "expired.crt", chain=[folder / "middle.crt"])
    with pytest.raises(InputError, match="the certificate CN=expired expired on") as caught:
        zoo.verify(report, certificate_roots=[folder / "root.crt"])
    assert not isinstance(caught.value, SignatureError)


def test_a_signature_by_another_key_than_the_certificate_is_invalid(
    authority: tuple[Path, Any], report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, keys = authority
    monkeypatch.setattr("zoo.artefacts.keys.read_private_key", lambda *_: keys["evil"])
    monkeypatch.setattr("zoo.artefacts.certificates.signing_chain", lambda *_: _certificates(folder))
    zoo.sign(report, folder / "ann.pem", certificate=folder / "ann.crt")
    with pytest.raises(SignatureError, match="the signature is invalid"):
        zoo.verify(report, certificate_roots=[folder / "root.crt"])


def _certificates(folder: Path) -> tuple[Any, ...]:
    from zoo.artefacts.keys import read_certificates

    return (*read_certificates(folder / "ann.crt"), *read_certificates(folder / "middle.crt"))


def test_a_signature_with_a_key_has_no_certificates(authority: tuple[Path, Any], report: Path) -> None:
    folder, _ = authority
    zoo.sign(report, folder / "ann.pem")
    with pytest.raises(SignatureError, match="contains no certificates; verify it with --key"):
        zoo.verify(report, certificate_roots=[folder / "root.crt"])


def test_without_a_network_sigstore_is_an_error(authority: tuple[Path, Any], report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = authority

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("sigstore.models.ClientTrustConfig.production", unreachable)
    monkeypatch.setattr("sigstore.models.ClientTrustConfig.staging", unreachable)
    for staging in (False, True):
        with pytest.raises(InputError, match=r"Sigstore can't be used to sign \(OSError: Network is unreachable\)\. Check the network"):
            zoo.sign(report, sigstore=True, staging=staging)
    assert not (report / "model.sig").exists()
    zoo.sign(report, folder / "ann.pem")
    with pytest.raises(InputError, match="Sigstore can't be used to verify"):
        zoo.verify(report, identity="me@example.org", issuer="https://example.org")


def test_sigstore_signs_and_verifies_the_statement(report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigstore's own part is replaced: the statement that is passed to it is the one that comes back."""
    private, _ = write_keys(tmp_path)

    def signed(payload: bytes, token: str | None, staging: bool) -> str:
        from zoo.artefacts.bundle import signed
        from zoo.artefacts.keys import read_private_key

        assert token == "token"
        return signed(payload, read_private_key(private))

    def verified(text: str, identity: str, issuer: str, staging: bool) -> bytes:
        import base64
        import json

        if identity != "me@example.org":
            raise ValueError("Certificate's SANs do not match")
        return base64.b64decode(json.loads(text)["dsseEnvelope"]["payload"])

    monkeypatch.setattr("zoo.artefacts.keyless.sign_with_identity", signed)
    monkeypatch.setattr("zoo.artefacts.keyless.verified_payload", verified)
    zoo.sign(report, sigstore=True, identity_token="token")
    assert zoo.verify(report, identity="me@example.org", issuer="https://example.org").signer == "me@example.org"
    with pytest.raises(SignatureError, match="SANs do not match"):
        zoo.verify(report, identity="you@example.org", issuer="https://example.org")
    (report / "new").write_text("x")
    with pytest.raises(SignatureError, match="new was added after signing"):
        zoo.verify(report, identity="me@example.org", issuer="https://example.org")
