"""Encryption of whole models into one file, in the format age (https://age-encryption.org/v1), and their decryption into memory.

The plaintext is a tar archive of the folder's files, in the order of their names and without dates and owners. `age -d … | tar x` unpacks
it. The zoo never writes decrypted content to the disk: what would be derived from it, such as converted networks, isn't cached.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.artefacts import age
from zoo.artefacts.identities import Keys, current, read_recipients, require_packages
from zoo.artefacts.manifest import files, identity, obstacle, unwritable
from zoo.errors import InputError
from zoo.system.files import write_atomic
from zoo.system.wording import look_at

SUFFIX = ".age"
_MODEL = "model.json"
_BLOCK = 512  # bytes of a tar header; contents are padded to a multiple of it
_TAMPERED = "the file is damaged or was changed, and nothing in it was loaded; get it again from where it was made"
Contents = Mapping[str, memoryview]


@dataclass(frozen=True)
class Encrypted:
    """An encrypted model.

    Attributes:
        path: the encrypted file.
        folder: the model's folder, which still exists, unencrypted.
        files: names of the files in it.
    """

    path: Path
    folder: Path
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a JSON-compatible dict."""
        return {"path": str(self.path), "folder": str(self.folder), "files": list(self.files)}


def encrypt(
    model: str | Path,
    out: str | Path | None = None,
    *,
    recipients: str | Path | Sequence[str | Path] = (),
    passphrase: str | None = None,
) -> Encrypted:
    """Encrypt the folder of a saved or exported model into one file, in the format of age, which `zoo.load` decrypts into memory.

    The folder itself isn't changed; delete it if only the encrypted file is to remain. To sign a model as well, sign its folder first.

    Args:
        model: folder of a model, or of a finished run, whose model is encrypted.
        out: the encrypted file; by default the name of the folder with `.age` appended. An existing file isn't replaced.
        recipients: public keys of those who can decrypt the file, age1…, ssh-ed25519 … or ssh-rsa …, or files with one in each line.
        passphrase: passphrase in place of recipients. It should be long, since guesses can be tried without limit.

    Returns:
        The encrypted file, with the names of the files in it.

    Raises:
        InputError: a recipient can't be used, the folder contains no model or something else than files, or the file exists or can't be
            written.

    Example:
        >>> import pathlib, tempfile, zoo
        >>> from pyrage import x25519
        >>> place, key = pathlib.Path(tempfile.mkdtemp()), x25519.Identity.generate()
        >>> _ = (place / "key.txt").write_text(str(key))
        >>> folder = zoo.save(zoo.build("resnet20", classes=["cat", "dog"]), place / "model")
        >>> file = zoo.encrypt(folder, recipients=str(key.to_public())).path
        >>> zoo.load(file, identity=place / "key.txt").classes
        ('cat', 'dog')
    """
    require_packages()
    import pyrage

    values = (recipients,) if isinstance(recipients, str | Path) else tuple(recipients)
    if bool(values) == (passphrase is not None):
        raise InputError("expected one way to encrypt: recipients (--to), or a passphrase (--passphrase)")
    if passphrase == "":
        raise InputError("the passphrase is empty; expected a long one, since guesses can be tried without limit")
    keys = read_recipients(values)
    folder = _folder(Path(model).expanduser())
    path = Path(out if out is not None else f"{Path(model)}{SUFFIX}").expanduser()  # without a slash at the end
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists; it will not be overwritten: delete it first, or choose another file (--out)")
    if path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is in the folder that is encrypted; choose a file elsewhere (--out)")
    contents = _read(folder)
    plain = _packed(contents)
    sealed = pyrage.encrypt(plain, keys) if passphrase is None else pyrage.passphrase.encrypt(plain, passphrase)
    try:
        write_atomic(path, lambda file: file.write(sealed))
    except OSError as error:
        raise InputError(
            f"{path} can't be written ({error.strerror}; it needs {len(sealed) / 1e6:,.1f} MB); check the folder, its permissions and the "
            "free disk space, or choose another file (--out)"
        ) from error
    return Encrypted(path, folder, tuple(contents))


def is_encrypted(path: str | Path) -> bool:
    """Return whether a path is an encrypted model: a file in the format age."""
    return age.is_age(Path(path).expanduser())


def refuse_encrypted(path: str | Path, why: str) -> None:
    """Raise an `InputError` if a path is an encrypted model; `why` continues the message with what can't be done."""
    if is_encrypted(path):
        raise InputError(f"{path} is encrypted, and {why}. Decrypt it first: age -d -i KEY {path} | tar x -C FOLDER")


def refuse_as_weights(path: str | Path) -> None:
    """Raise an `InputError` if the weights for another model, such as one to be trained, are those of an encrypted model."""
    refuse_encrypted(path, "its weights can't initialise another model, which would be written unencrypted")


def ask_for_passphrase(path: Path) -> None:
    """Make sure that the passphrase of a model is known before another process needs it, if the model is encrypted with one.

    Raises:
        InputError: it isn't known and can't be asked for, or the file is damaged.
    """
    if is_encrypted(path):
        with path.open("rb") as file:
            if _header(file, path).needs_passphrase:
                current().passphrase(path)


def decrypted(path: Path, keys: Keys, *, keep: bool = False) -> Contents:
    """Decrypt a model into memory, and return the contents of its files by name.

    Args:
        path: the encrypted file.
        keys: private keys and passphrase.
        keep: whether the caller reads the model's description alone, so that the model is likely to be loaded next. Then `keys` keep it
            until the next call.

    Raises:
        InputError: the keys can't decrypt the file, or it is damaged, or contains something else than a model.
    """
    about = identity(path)
    known = keys.kept[1] if keys.kept is not None and keys.kept[0] == about else None
    found: Contents = known or _unpacked(_plaintext(path, keys), path)
    keys.kept = (about, found) if keep else None
    return found


def _plaintext(path: Path, keys: Keys) -> memoryview:
    """Return the plaintext, in a buffer that can be written to, as torch requires of buffers for tensors."""
    require_packages()
    import pyrage

    with path.open("rb") as file:
        header = _header(file, path)
        try:
            if header.needs_passphrase:
                phrase = keys.passphrase(path)
                file.seek(0)
                return memoryview(bytearray(pyrage.passphrase.decrypt(file.read(), phrase)))
            if not keys.identities:
                other = ", not with a passphrase" if keys.has_passphrase else ""
                raise InputError(
                    f"{path} is encrypted for recipients{other}: pass the file of your private key with --identity (in Python: identity=…)"
                )
            key = age.file_key(header, [each.secret for each in keys.identities if each.secret is not None])
            if key is not None:
                return age.decrypt(file, header, key)
            file.seek(0)
            return memoryview(bytearray(pyrage.decrypt(file.read(), [each.key for each in keys.identities])))
        except pyrage.DecryptError as error:
            raise InputError(_refusal(path, header, keys, str(error).splitlines()[0])) from error
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} can't be decrypted: {error}; {_TAMPERED}") from error


def _header(file: Any, path: Path) -> age.Header:
    try:
        return age.read_header(file)
    except ValueError as error:
        raise InputError(f"{path} can't be decrypted: {error}; {_TAMPERED}") from error


def _refusal(path: Path, header: age.Header, keys: Keys, reason: str) -> str:
    """Return the message about a file that pyrage can't decrypt."""
    if header.needs_passphrase:
        return f"{path} can't be decrypted ({reason}): the passphrase is wrong, or {_TAMPERED}"
    if reason == "No matching keys found":
        return f"{path} is encrypted for other recipients than {', '.join(keys.names)}: pass the private key of one of them, or {_TAMPERED}"
    return f"{path} can't be decrypted ({reason}): {_TAMPERED}"


def _folder(path: Path) -> Path:
    """Return the folder of a model: the folder itself, or the subfolder `model` of a run's folder."""
    for folder in (path, path / "model"):
        if (folder / _MODEL).is_file():
            return folder
    hint = look_at(path) if not path.exists() else f"there is no {_MODEL} in it, nor in its subfolder model/"
    raise InputError(f"{path} is not the folder of a run or model: {hint}")


def _read(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder by name, in order."""
    found = {}
    for name, file in sorted(files(folder)):
        if problem := obstacle(file, links=False) or unwritable(name):
            raise InputError(f"{file} can't be encrypted: {problem}; remove it, or replace it with a copy of the file")
        found[name] = file.read_bytes()
    return found


def _packed(contents: Mapping[str, bytes]) -> bytes:
    """Return a tar archive (POSIX.1-1988) of files."""
    parts = []
    for name, data in contents.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        try:
            header = entry.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        except ValueError as error:
            raise InputError(f"{name} can't be encrypted: {error}; shorten its name") from error
        parts += [header, data, bytes(-len(data) % _BLOCK)]
    return b"".join([*parts, bytes(2 * _BLOCK)])


def _unpacked(view: memoryview, path: Path) -> Contents:
    """Return the contents of the files in a tar archive by name, as parts of the buffer, which isn't copied.

    Raises:
        InputError: it isn't an archive of files, each with a different relative path, or there is no model in it.
    """
    place, found = 0, dict[str, memoryview]()
    try:
        while any(block := bytes(view[place : place + _BLOCK])):
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            _check_entry(entry, found)
            begin, place = place + _BLOCK, place + _BLOCK + -(-entry.size // _BLOCK) * _BLOCK
            found[entry.name] = view[begin : begin + entry.size]
        if place + 2 * _BLOCK > len(view) or bytes(view[place:]).strip(b"\0"):
            raise ValueError("the archive in it is incomplete, or continues after its end")
        if _MODEL not in found:
            raise ValueError(f"there is no {_MODEL} in it")
    except (tarfile.HeaderError, ValueError) as error:
        raise InputError(f"{path} is not a model that was encrypted with zoo encrypt: {error}") from error
    return found


def _check_entry(entry: tarfile.TarInfo, found: Mapping[str, Any]) -> None:
    """Raise a `ValueError` unless an entry of an archive is a file with a new relative path."""
    if entry.type != tarfile.REGTYPE or entry.size < 0:
        raise ValueError(f"{entry.name!r} is not a file")
    if any(part in ("", ".", "..") for part in entry.name.split("/")):
        raise ValueError(f"{entry.name!r} is not a plain relative path")
    if entry.name in found:
        raise ValueError(f"{entry.name!r} occurs twice")
