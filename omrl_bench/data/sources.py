"""Where hosted datasets come from: a folder, a static web server, or a dataset repository on the Hugging Face Hub."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omrl_bench import __version__
from omrl_bench.errors import InputError

TIMEOUT = 30.0  # seconds without an answer, or without a byte
CHUNK = 1 << 18
COMMIT = re.compile(r"[0-9a-f]{40}")


class UnavailableError(Exception):
    """A source did not answer, or stopped in the middle; another try may help."""


class MissingFileError(InputError):
    """A source that answers does not have a file."""


@dataclass(frozen=True)
class Stream:
    """The content of a file from ``start`` on.

    Attributes:
        start: The first byte: what was asked for, or 0 if the source cannot start in the middle.
        size: Size of the whole file, if the source says.
        chunks: The bytes.
    """

    start: int
    size: int | None
    chunks: Iterator[bytes]


class Source(Protocol):
    """Hosted files, by their paths below the source's root; ``str(source)`` is what people call it."""

    def open(self, path: str, start: int = 0) -> AbstractContextManager[Stream]:
        """Open a file at a byte.

        Raises:
            UnavailableError: on opening or while reading, if another try may help.
            InputError: if another try will not.
        """


@dataclass(frozen=True)
class FolderSource:
    """``file:///folder``: a mirror on a disk that all machines share."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.as_uri()

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Stream]:
        """See :class:`Source`."""
        try:
            file = (self.folder / path).open("rb")
        except FileNotFoundError as error:
            raise MissingFileError(f"{self} has no {path}") from error
        except OSError as error:
            raise InputError(f"cannot read {self.folder / path}: {error.strerror}") from error
        with file:
            size = file.seek(0, os.SEEK_END)
            file.seek(start)
            yield Stream(start, size, iter(lambda: file.read(CHUNK), b""))


@dataclass(frozen=True)
class WebSource:
    """``http(s)://host/path``: any server of static files; resuming needs one that knows ``Range``."""

    url: str

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Stream]:
        """See :class:`Source`."""
        headers = {"User-Agent": f"omrl-bench/{__version__}"} | _range_headers(start)
        request = urllib.request.Request(f"{self.url}/{urllib.parse.quote(path)}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                begin, size = _extent(response.status, response.headers)
                # not read(): it waits for a full chunk, and an interrupt would lose what it has
                yield Stream(begin, size, iter(lambda: response.read1(CHUNK), b""))
        except urllib.error.HTTPError as error:
            raise _refusal(self, path, error.code, error.reason) from error
        except urllib.error.URLError as error:
            raise UnavailableError(getattr(error.reason, "strerror", None) or str(error.reason)) from error
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise UnavailableError(str(error) or type(error).__name__) from error


@dataclass(frozen=True)
class HubSource:
    """``hf://owner/name@commit``: a dataset repository at one commit."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.revision} at {hub_endpoint()}"

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Stream]:
        """See :class:`Source`.

        The client's session, but not its ``hf_hub_download``: that begins an interrupted file again from its first
        byte (issue 4196 of huggingface_hub).
        """
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.errors import (  # type: ignore[attr-defined]  # the base of all errors is not listed
            HfHubHTTPError,
            HTTPError,
            OfflineModeIsEnabled,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # loaded lazily

        at = {"repo_type": "dataset", "revision": self.revision, "endpoint": hub_endpoint()}
        url = hf_hub_url(self.repository, path, **at)
        headers = build_hf_headers(library_name="omrl-bench", library_version=__version__) | _range_headers(start)
        try:
            with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
                hf_raise_for_status(response)
                begin, size = _extent(response.status_code, response.headers)
                yield Stream(begin, size, response.iter_bytes())
        except RevisionNotFoundError as error:
            raise InputError(f"{self}: the repository has no such commit") from error
        except HfHubHTTPError as error:
            reason = error.server_message or error.response.reason_phrase
            raise _refusal(self, path, error.response.status_code, reason) from error
        except OfflineModeIsEnabled as error:
            raise InputError(f"{self} is not asked, because HF_HUB_OFFLINE is set") from error
        except HTTPError as error:
            raise UnavailableError(str(error) or type(error).__name__) from error


def hub_endpoint() -> str:
    """Address of the Hub: ``$HF_ENDPOINT`` or the client's default."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def parse_source(text: str) -> FolderSource | WebSource | HubSource:
    """Understand ``file:///folder``, ``http(s)://host/path`` or ``hf://owner/name[@revision]``.

    Without a revision, a :class:`HubSource` has an empty one.

    Raises:
        InputError: if it is none of these.
    """
    known = "file:///FOLDER, https://HOST/PATH and hf://OWNER/NAME@COMMIT"
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no source of datasets ({error}); known: {known}") from error
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return FolderSource(Path(urllib.request.url2pathname(parts.path)))
    if parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment:
        return WebSource(text.rstrip("/"))
    if match := re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@(.*))?", text):
        return HubSource(match[1], match[2] or "")
    raise InputError(f"{text!r} is no source of datasets; known: {known}")


def parse_pinned_source(text: str) -> Source:
    """:func:`parse_source` for reading: a repository's revision has to be a commit, because branches and tags move.

    Raises:
        InputError: if it is no source, or not pinned.
    """
    source = parse_source(text)
    if isinstance(source, HubSource) and not COMMIT.fullmatch(source.revision):
        named = f"{source.revision!r} is not a commit" if source.revision else "it names no commit"
        raise InputError(
            f"{text}: {named}, and anything else may change under you; write hf://{source.repository}@COMMIT with the "
            f"40 hexadecimal digits that `data push` printed, or that {hub_endpoint()}/datasets/{source.repository}"
            "/commits/main shows"
        )
    return source


def _range_headers(start: int) -> dict[str, str]:
    # a range of a compressed body would be no range of the file
    return {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})


def _extent(status: int, headers: Mapping[str, str]) -> tuple[int, int | None]:
    """First byte and full size that a response's headers tell."""
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range") or "")
        if not match:
            raise UnavailableError("a part of the file came, but not which")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = headers.get("Content-Length")
    return 0, int(length) if length and not headers.get("Content-Encoding") else None


def _refusal(source: Source, path: str, status: int, reason: str) -> Exception:
    answer = f"{status} {reason}".strip()
    if status in (404, 410):
        return MissingFileError(f"{source} has no {path} ({answer})")
    if status in (401, 403):
        login = "; if it is private, log in with `hf auth login` or set HF_TOKEN"
        return InputError(f"{source} refuses {path} ({answer}){login if isinstance(source, HubSource) else ''}")
    if status in (408, 416, 429) or status >= 500:
        return UnavailableError(answer)
    return InputError(f"{source} cannot serve {path} ({answer})")
