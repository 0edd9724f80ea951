"""Pushing datasets to where `data pull` finds them; see :mod:`omrl_bench.data.hosting`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from omrl_bench import __version__
from omrl_bench.data.croissant import CROISSANT, describe_source
from omrl_bench.data.hosting import INDEX, HostedDataset, HostedFile, Index, read_index
from omrl_bench.data.manifest import verify_dataset
from omrl_bench.data.sources import FolderSource, HubSource, MissingFileError, Source, hub_endpoint, parse_source
from omrl_bench.data.store import data_root, dataset_folder, dataset_id, file_hash
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError
from omrl_bench.files import beside, write_atomically


def describe(family: Family, quality: str) -> HostedDataset:
    """Hash the files of a local dataset.

    Raises:
        InputError: if it is missing, damaged, of another version, or not canonical.
    """
    status, reason = verify_dataset(family, quality)
    if status != "canonical":
        raise InputError(
            f"{dataset_id(family, quality)} is {status} ({reason}); only canonical datasets are pushed, "
            "so build it on a machine where `omrl-bench data verify` says canonical"
        )
    folder = dataset_folder(family, quality)
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    files = {
        name.as_posix(): HostedFile(sha256=file_hash(folder / name), size=(folder / name).stat().st_size)
        for name in names
        if not any(part.startswith(".") for part in name.parts)  # what file managers leave
    }
    return HostedDataset(family_fingerprint=family.fingerprint(), files=files)


def push(target: str, datasets: Mapping[str, HostedDataset]) -> str:
    """Push local datasets; those that are there already, of other families or qualities, stay.

    Args:
        target: ``hf://owner/name`` or ``file:///folder``.
        datasets: By dataset id; see :func:`describe`.

    Returns:
        The source to pull from. A repository's is pinned to the commit that was made.

    Raises:
        InputError: if the target is read-only or not reachable, or refuses.
    """
    source = parse_source(target)
    if isinstance(source, FolderSource):
        _push_to_folder(source, datasets)
        return str(source)
    if isinstance(source, HubSource):
        if source.revision:
            raise InputError(f"{target}: a push makes a new commit of the branch main; leave out @{source.revision}")
        return f"hf://{source.repository}@{_push_to_hub(source.repository, datasets)}"
    raise InputError(
        f"{target} is read-only; push to the folder that the server shows (file:///FOLDER) or to hf://OWNER/NAME"
    )


def _merged(source: Source, datasets: Mapping[str, HostedDataset]) -> dict[str, bytes]:
    """Croissant metadata and index of a source, after a push."""
    try:
        old = read_index(source).datasets
    except MissingFileError:
        old = {}
    index = Index(schema=1, datasets=old | dict(datasets))
    described = describe_source(index, str(source), datetime.now(UTC).date())
    return {CROISSANT: described, INDEX: index.model_dump_json(indent=1, by_alias=True).encode() + b"\n"}


def _push_to_folder(target: FolderSource, datasets: Mapping[str, HostedDataset]) -> None:
    documents = _merged(target, datasets)
    try:
        for name, hosted in datasets.items():
            for file, entry in hosted.files.items():
                _copy(data_root() / name / file, target.folder / name / file, entry)
    except OSError as error:
        raise InputError(f"cannot write to {target.folder}: {error.strerror}; its {INDEX} is as before") from error
    for name, text in documents.items():  # the index last: it promises the rest
        write_atomically(target.folder / name, text)


def _copy(path: Path, target: Path, entry: HostedFile) -> None:
    if target.is_file() and file_hash(target) == entry.sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(target)
    try:
        shutil.copyfile(path, temporary)
        if file_hash(temporary) != entry.sha256:
            raise InputError(f"{path} changed while it was pushed; push again")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _push_to_hub(repository: str, datasets: Mapping[str, HostedDataset]) -> str:
    """Make one commit of all files and the index: its id."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # the base of all errors is not listed
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    where = f"hf://{repository} at {hub_endpoint()}"
    login = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write there"
    if not get_token():
        raise InputError(f"no token to push to {where}; {login}")
    api = HfApi(endpoint=hub_endpoint(), library_name="omrl-bench", library_version=__version__)
    try:
        if not api.repo_exists(repository, repo_type="dataset"):  # some tokens may write, but not create
            api.create_repo(repository, repo_type="dataset", exist_ok=True)
        head = api.repo_info(repository, repo_type="dataset").sha
        documents = _merged(HubSource(repository, head or "main"), datasets)
        files = [f"{name}/{file}" for name, hosted in datasets.items() for file in hosted.files]
        operations = [CommitOperationAdd(file, data_root() / file) for file in files]
        commit = api.create_commit(
            repository,
            [*operations, *(CommitOperationAdd(name, text) for name, text in documents.items())],
            repo_type="dataset",
            commit_message=f"{', '.join(datasets)}, by omrl-bench {__version__}",
            parent_commit=head,  # a push by somebody else in between would be lost from the index
        )
    except HfHubHTTPError as error:
        status = error.response.status_code
        answer = f"{status} {error.server_message or error.response.reason_phrase}"
        advice = {401: login, 403: login, 409: "push again", 412: "somebody else pushed; push again"}
        raise InputError(f"{where} refuses ({answer}); {advice.get(status, 'nothing was committed')}") from error
    except OfflineModeIsEnabled as error:
        raise InputError(f"{where} is not asked, because HF_HUB_OFFLINE is set") from error
    except (HTTPError, RuntimeError) as error:  # RuntimeError: an upload that failed in one of the client's threads
        raise InputError(f"{where} cannot be reached: {error}; the same command goes on from here") from error
    return str(commit.oid)
