"""Errors of the Hub and of the network, in words that tell the user what to do."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator

from zoo.artefacts.hub.reference import Reference, endpoint
from zoo.errors import InputError
from zoo.system.wording import reason

_CLIENTS = ("httpx", "httpx2", "httpcore", "requests", "urllib3", "huggingface_hub", "hf_xet")  # depends on the version of huggingface-hub
_LOG_IN = "log in with hf auth login, or set HF_TOKEN"


@contextlib.contextmanager
def explained(reference: Reference, write: bool = False) -> Iterator[None]:
    """Convert errors of the Hub in the body into an `InputError` with a remedy. Errors of the file system are left unchanged.

    Args:
        reference: the repository that the body reads from, or writes to.
        write: whether it writes.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if (found := _of_hub(reference, error, write) or _of_network(reference, error)) is not None:
            raise found from error
        if not write and isinstance(error, RuntimeError | ValueError):  # an answer that isn't JSON, for instance
            raise _of_another_server(reference, error) from error
        if write and isinstance(error, RuntimeError | ValueError):  # a failed upload, or metadata of the model card that the Hub refuses
            why = " ".join(str(error).split()) if isinstance(error, ValueError) else reason(error)
            raise InputError(f"{reference}: the push failed, and nothing was published ({why}). Correct this, or push again") from error
        raise


def _of_hub(reference: Reference, error: Exception, write: bool) -> InputError | None:
    """Return the error to report for an answer of the Hub; None for other errors."""
    from huggingface_hub import errors

    match error:
        case errors.RevisionNotFoundError():
            return InputError(f"{reference}: the repository has no revision {reference.branch!r}. {_revisions(reference)}")
        case errors.GatedRepoError():
            return InputError(f"{reference}: access must be requested. Accept the terms at {reference.url}, and {_LOG_IN}")
        case errors.RepositoryNotFoundError():
            return InputError(f"{reference}: there is no such repository, or it is private. Check the name, or {_LOG_IN}")
        case errors.HfHubHTTPError():
            return _refused(reference, error, write)
        case errors.LocalEntryNotFoundError() if isinstance(error.__cause__, errors.FileMetadataError):
            return _of_another_server(reference, error)
    return None


def _of_network(reference: Reference, error: Exception) -> InputError | None:
    """Return the error to report if the Hub can't be reached; None for other errors."""
    from huggingface_hub import errors

    # huggingface-hub raises the first of these if it could not reach the server, and found nothing in its cache
    network = isinstance(error, errors.LocalEntryNotFoundError | ConnectionError)
    network |= isinstance(error, OSError) and error.errno is None  # a download with missing bytes
    network |= type(error).__module__.partition(".")[0] in _CLIENTS
    return _unreachable(reference, error) if network else None


def _of_another_server(reference: Reference, error: Exception) -> InputError:
    return InputError(f"{reference}: {endpoint()} doesn't answer as the Hub does ({reason(error)}). Check HF_ENDPOINT and the network")


def _unreachable(reference: Reference, error: Exception) -> InputError:
    return InputError(
        f"{reference}: {endpoint()} can't be reached ({reason(error)}). Check the network. "
        "With HF_HUB_OFFLINE=1, a model that was pulled before is loaded without a network"
    )


def _refused(reference: Reference, error: Exception, write: bool) -> InputError:
    """Return the error for an HTTP status that has no class."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        needed = "a token with write access is" if write else "access is"
        return InputError(f"{reference}: {needed} required; {_LOG_IN}")
    if status == 412:
        return InputError(f"{reference}: the repository was changed during the push, which was not carried out; push again")
    return InputError(f"{reference}: {endpoint()} answered with an error ({reason(error)}); try again later")


def _revisions(reference: Reference) -> str:
    """Return a sentence with the branches and tags whose names are nearest; without a network, a sentence about the expected form."""
    from huggingface_hub import HfApi

    names: list[str] = []
    with contextlib.suppress(Exception):  # the first error is more important
        found = HfApi(endpoint=endpoint()).list_repo_refs(reference.repository)
        names = [each.name for each in (*found.branches, *found.tags)]
    near = difflib.get_close_matches(reference.branch, names, n=5, cutoff=0.4) or names[:10]
    return f"Expected one of its branches and tags ({', '.join(near)}), or a commit" if near else "Expected a branch, a tag or a commit"
