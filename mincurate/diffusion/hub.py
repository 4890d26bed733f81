"""Models of the Hugging Face hub, from its cache or over the network."""

import urllib.error
import urllib.request
from pathlib import Path

from mincurate.errors import UserError, reason

CONNECT_SECONDS = 5.0
"""The hub's own client tries for a minute and more where there is no network."""


def reachable() -> bool:
    """Whether the hub answers, unless ``HF_HUB_OFFLINE`` forbids to ask."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except (TimeoutError, urllib.error.URLError, OSError, ValueError):
        return False


def has(name: str) -> bool:
    """Whether a model for ``transformers`` can be had: it is in the cache, or the hub answers."""
    from importlib.util import find_spec

    from huggingface_hub import try_to_load_from_cache

    if find_spec("transformers") is None:
        return False
    return isinstance(try_to_load_from_cache(name, "config.json"), str) or reachable()


def unreachable(name: str) -> str:
    """The sentence for a model that is neither a folder nor in the cache, without a network."""
    return (
        f"There is no folder {name!r}; as a model of the Hugging Face hub it is not in the cache, "
        "and the hub cannot be reached (no network, or HF_HUB_OFFLINE is set)."
    )


def download(name: str, patterns: list[str], *, online: bool) -> Path:
    """The folder with those files of a repository that match ``patterns``, as far as it has some.

    Args:
        name: of the repository, ``OWNER/NAME``.
        online: ask the hub (see `reachable`); otherwise only its cache is read.

    Raises:
        UserError: there is no such repository, or nothing of it here and no network.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not online))
    except errors.HFValidationError:
        raise UserError(
            f"There is no folder {name!r}, and it is not the name of a model on the Hugging Face "
            "hub (OWNER/NAME) either."
        ) from None
    except errors.GatedRepoError:
        raise UserError(
            f"The model {name} on the Hugging Face hub asks for an account: accept its terms there "
            "and log in with `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"There is no folder {name!r}, and no model of that name on the Hugging Face hub."
        ) from None
    except OSError as error:
        if not online:
            raise UserError(unreachable(name)) from error
        raise UserError(
            f"The model {name} could not be downloaded from the Hugging Face hub: {reason(error)}"
        ) from error
