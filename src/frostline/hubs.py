"""Weight files of the public hubs: found in the libraries' own caches, else fetched into them.

What a cache holds is taken without asking the network. Every failure is an error in one line: a
hub that cannot be reached never means random weights.
"""

import difflib
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from frostline.config import IMAGENET, Normalisation
from frostline.errors import ConfigError, DownloadError, InitError
from frostline.extras import load_extra

__all__ = ["HubFile", "hf_file", "timm_config", "timm_file", "torchvision_file"]

_log = logging.getLogger(__name__)

_HF_FILE = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?/([^\\/][^\\]*)", re.ASCII)
_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")  # the safe one first, as timm does
_SHA256 = re.compile(r"[0-9a-f]{64}")  # an ETag of this form; small files have git's SHA-1
_SHOWN_TAGS = 8


class HubFile(NamedTuple):
    """A weight file on this machine.

    Attributes:
        name: what stands in records: the source in full, with the tag that was meant.
        path: the file in its library's cache.
        normalisation: of the pixels it was trained on, where the hub says it.
    """

    name: str
    path: Path
    normalisation: Normalisation | None = None


class _Asked(NamedTuple):
    """One file of one repository of the Hugging Face hub; revision None is ``main``."""

    repo: str
    revision: str | None
    file: str


def torchvision_file(name: str) -> HubFile:
    """The file of a weights enum, in torch's cache (``$TORCH_HOME/hub/checkpoints``).

    Args:
        name: such as ``ResNet50_Weights.IMAGENET1K_V2``.

    Raises:
        InitError: torchvision has no such weights.
        DownloadError: they are neither in the cache nor to be fetched.
    """
    from torchvision.models import get_weight

    try:
        url = str(get_weight(name).url)
    except (ValueError, AttributeError, KeyError) as error:
        raise InitError(
            f"torchvision has no weights '{name}' ({error}); expected a name such as "
            "ResNet50_Weights.IMAGENET1K_V2"
        ) from None
    return HubFile(f"torchvision:{name}", _from_url(url), IMAGENET)


def timm_file(model: str) -> HubFile:
    """The weights that timm names for a model: Hugging Face's cache, torch's cache, the network.

    Args:
        model: timm's name, with a tag (``resnet50.a1_in1k``) or without (its default weights).

    Raises:
        ConfigError: timm has no such model or tag.
        DependencyError: timm is not installed.
        DownloadError: the weights are neither in a cache nor to be fetched.
        InitError: timm has no weights for the model, or only in a format of another framework.
    """
    config = timm_config(model)
    name = f"timm:{config.architecture}" + (f".{config.tag}" if config.tag else "")
    path = _timm_cached(config) or _timm_fetched(config, name)
    return HubFile(name, path, Normalisation(mean=config.mean, std=config.std))


def timm_config(model: str) -> Any:
    """Where the weights of a timm model are and what input they want: its ``PretrainedCfg``.

    Raises:
        ConfigError: timm has no such model, or no such tag of it; names the nearest.
        DependencyError: timm is not installed.
    """
    timm = load_extra("timm", "timm")
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them"
        raise ConfigError(f"timm {timm.__version__} has no model '{architecture}'; {hint}")
    names = timm.list_models(architecture, include_tags=True)
    if tag and model not in names:
        tags = [name.partition(".")[2] for name in names]
        raise ConfigError(
            f"timm {timm.__version__} has no tag '{tag}' of '{architecture}': expected one of "
            f"{', '.join(filter(None, tags[:_SHOWN_TAGS]))}"
        )
    return timm.models.get_pretrained_cfg(model, allow_unregistered=False)


def hf_file(location: str) -> HubFile:
    """One file of the Hugging Face hub, in the hub's own cache (``$HF_HOME/hub``).

    Args:
        location: ``<owner>/<repo>[@<revision>]/<file>``; a revision is a branch, tag or commit.

    Raises:
        DependencyError: huggingface_hub is not installed.
        DownloadError: the file is neither in the cache nor to be fetched.
        InitError: the location is not written like that.
    """
    match = _HF_FILE.fullmatch(location)
    if match is None or ".." in PurePosixPath(location).parts:
        raise InitError(
            f"source 'hf:{location}': expected hf:<owner>/<repo>/<file> or "
            "hf:<owner>/<repo>@<revision>/<file>, as hf:timm/resnet18.a1_in1k/model.safetensors"
        )
    asked = _Asked(match[1], match[2], match[3])
    path = _hf_cached(asked)
    if path is None:
        path = _hf_fetched(asked)
    if path is None:
        raise DownloadError(
            f"the Hugging Face hub has no file '{asked.file}' in {_repository(asked)}; "
            f"see {_endpoint()}/{asked.repo}/tree/{asked.revision or 'main'}"
        )
    return HubFile(f"hf:{location}", path)


def _timm_candidates(config: Any) -> list[_Asked]:
    """Files of the hub that may hold a model's weights, the preferred one first."""
    if not config.hf_hub_id:
        return []
    repo, _, revision = config.hf_hub_id.partition("@")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _TIMM_FILES
    return [_Asked(repo, revision or None, file) for file in files]


def _timm_cached(config: Any) -> Path | None:
    for asked in _timm_candidates(config):
        path = _hf_cached(asked)
        if path is not None:
            return path
    if config.url and not config.custom_load:
        path = _checkpoint_path(_url_and_file(config.url)[1])
        return path if path.exists() else None
    return None


def _timm_fetched(config: Any, name: str) -> Path:
    asked = _timm_candidates(config)
    for candidate in asked:
        path = _hf_fetched(candidate)
        if path is not None:
            return path
    if asked:
        raise DownloadError(
            f"'{name}': {_repository(asked[0])} has none of {', '.join(a.file for a in asked)}; "
            "name its weight file as hf:<owner>/<repo>/<file>"
        )
    if config.url and not config.custom_load:
        return _from_url(config.url)
    raise InitError(
        f"timm has no weights for '{name}' that are a state dict; give a model with a tag that "
        "timm.list_pretrained() names, or a weight file"
    )


def _hf_cached(asked: _Asked) -> Path | None:
    hub = load_extra("huggingface_hub", "hf")
    try:
        found = hub.try_to_load_from_cache(asked.repo, asked.file, revision=asked.revision)
    except ValueError as error:  # a name that no repository or file can have
        raise InitError(f"{_repository(asked)}: {_reason(error)}") from None
    return Path(found) if isinstance(found, str) else None


def _hf_fetched(asked: _Asked) -> Path | None:
    """Download a file into the hub's cache; None where the repository has no such file.

    The hub's own download asks five times, for 23 s, where nobody answers; so it is asked once
    whether it is there.
    """
    hub = load_extra("huggingface_hub", "hf")
    try:
        url = hub.hf_hub_url(asked.repo, asked.file, revision=asked.revision)
        published = hub.get_hf_file_metadata(url).etag
        _log.info("downloading %s", url)
        path = Path(hub.hf_hub_download(asked.repo, asked.file, revision=asked.revision))
    except hub.utils.RevisionNotFoundError:
        raise DownloadError(
            f"the Hugging Face hub has no {_repository(asked)}: expected a branch, tag or commit "
            f"of it behind the @; see {_endpoint()}/{asked.repo}/tree/main"
        ) from None
    except hub.utils.RepositoryNotFoundError:
        raise DownloadError(
            f"the Hugging Face hub shows no {_repository(asked)}: check the name; if it is private "
            "or gated, log in with `hf auth login`"
        ) from None
    except hub.utils.EntryNotFoundError as error:
        if isinstance(error, FileNotFoundError):  # "not in the cache, and nobody answers"
            raise _unreachable(asked, error) from None
        return None
    except Exception as error:  # the HTTP library's own, which share no base class
        raise _unreachable(asked, error) from None
    _require_published(path, asked, published)
    return path


def _require_published(path: Path, asked: _Asked, published: str | None) -> None:
    """Compare what came with the hash that the hub gives; the library looks at its length only."""
    if published is None or not _SHA256.fullmatch(published):
        return
    with path.open("rb") as file:
        came = hashlib.file_digest(file, "sha256").hexdigest()
    if came == published:
        return
    path.resolve().unlink()  # the blob that the cache's entry links to, or the entry itself
    path.unlink(missing_ok=True)
    raise DownloadError(
        f"'{asked.file}' of {_repository(asked)}: expected SHA-256 {published}, got {came}; what "
        "came was deleted, so fetch it again"
    )


def _unreachable(asked: _Asked, error: Exception) -> DownloadError:
    proxies = sorted(name for name in os.environ if name.lower() in ("http_proxy", "https_proxy"))
    network = f"proxy ({', '.join(proxies)})" if proxies else "network"
    return DownloadError(
        f"could not fetch '{asked.file}' of {_repository(asked)} from {_endpoint()} "
        f"({_reason(error)}); check the {network}, or bring the file into the cache "
        f"{_hf_cache()} on a machine that can, or give a weight file's path"
    )


def _repository(asked: _Asked) -> str:
    return f"repository '{asked.repo}'" + (f" at '{asked.revision}'" if asked.revision else "")


def _endpoint() -> str:
    return str(load_extra("huggingface_hub", "hf").constants.ENDPOINT)


def _hf_cache() -> str:
    return str(load_extra("huggingface_hub", "hf").constants.HF_HUB_CACHE)


def _reason(error: Exception) -> str:
    """The first line of a message: the libraries' own go on for paragraphs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _from_url(url: str | Sequence[str]) -> Path:
    """A file of a plain address in torch's cache, downloaded if it is not there."""
    address, file = _url_and_file(url)
    path = _checkpoint_path(file)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(address, path)
    return path


def _url_and_file(url: str | Sequence[str]) -> tuple[str, str]:
    """Address, and the file's name in the cache, which timm may give beside the address."""
    if isinstance(url, str):
        return url, PurePosixPath(url.partition("?")[0]).name
    address, file = url
    return address, file


def _checkpoint_path(file: str) -> Path:
    import torch.hub

    return Path(torch.hub.get_dir()) / "checkpoints" / file


def _download(url: str, path: Path) -> None:
    import torch.hub

    _log.info("downloading %s", url)
    digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=digest.group(1) if digest else None, progress=True
        )
    except (OSError, RuntimeError) as error:
        raise DownloadError(
            f"could not download {url} ({error}); check the network or proxy, or put the file at "
            f"$TORCH_HOME/hub/checkpoints/{path.name}"
        ) from None
