"""A real web server with static files and as much of the Hub's API as its client needs, and datasets for it.

It counts what it sends, and has the faults that real servers have.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import minari
import pytest

from omrl_bench.data import hosting, manifest, store
from omrl_bench.data.build import collect
from omrl_bench.data.hosting import Index
from omrl_bench.data.publishing import describe

SMALL = 10_000  # bytes; larger files are kept apart, as by Git LFS
TOKENS = {"hf_writer": True, "hf_reader": False}  # may it write?


class HubServer(ThreadingHTTPServer):
    """Repositories, a static folder, a log and faults.

    Attributes:
        static: Files below ``/static/`` by path.
        commits: Files by repository and commit.
        heads: The newest commit by repository.
        sent: Bytes of bodies that were sent, by file name.
        requests: (method, path, range, token) of every request.
        failures: File name -> HTTP status of the next answers, in their order.
        cuts: File name -> after how many bytes the next answers stop.
        damaged: File name -> how many of the next answers have a wrong byte.
        ranges: Whether `Range` is understood.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.static, self.commits, self.heads, self.large = {}, {}, {}, {}
        self.sent, self.damaged = Counter(), Counter()
        self.requests, self.failures, self.cuts = [], {}, {}
        self.ranges = True
        self.during_upload = None  # called once, before a commit is accepted
        self.stall = None  # an event that a cut waits for instead of closing the connection
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self):
        """Names of the files that were asked for, one per request."""
        return [path.rsplit("/", 1)[-1] for method, path, _, _ in self.requests if "/large/" not in path]

    @property
    def elsewhere(self):
        """The same server under another name: where large files are, as with the Hub's CDN."""
        return f"http://localhost:{self.server_port}"

    def commit(self, repository, files):
        """Make a commit with these files: its id."""
        names = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())})
        commit = hashlib.sha1(f"{self.heads.get(repository)} {names}".encode()).hexdigest()
        self.commits[repository, commit] = dict(files)
        self.heads[repository] = commit
        return commit

    def close(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, BrokenPipeError):  # a client that was killed
            self.close_connection = True

    def do_GET(self):
        path = self.begin()
        if path.startswith("/static/"):
            if not self.fault(path):
                self.answer_file(path, self.server.static.get(path.removeprefix("/static/")))
        elif path.startswith("/large/"):
            self.answer_file(path.rsplit("+", 1)[1], self.server.large.get(path.split("/")[2].split("+")[0]))
        elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*match.groups())
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/.+)?", path):
            head = self.server.heads.get(match[1])
            self.answer_json({"id": match[1], "sha": head}) if head else self.refuse(404, "RepoNotFound")
        else:
            self.refuse(404)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        path = self.begin()
        if not self.may_write():
            return
        if path == "/api/repos/create":
            self.create(json.loads(self.body))
        elif re.fullmatch(r"/api/datasets/.+/preupload/main", path):
            files = json.loads(self.body)["files"]
            modes = ["lfs" if file["size"] > SMALL else "regular" for file in files]
            rows = zip(files, modes, strict=True)
            self.answer_json({"files": [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in rows]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.answer_json(
                {"transfer": "basic", "objects": [self.upload(o) for o in json.loads(self.body)["objects"]]}
            )
        elif match := re.fullmatch(r"/api/datasets/(.+)/commit/main", path):
            self.accept(match[1], [json.loads(line) for line in self.body.splitlines()])
        else:
            self.refuse(404)

    def do_PUT(self):
        oid = self.begin().removeprefix("/upload/")
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400)
        self.server.large[oid] = self.body
        self.answer(200, b"")

    # --- the Hub

    def resolve(self, repository, revision, name):
        if repository not in self.server.heads:
            return self.refuse(404, "RepoNotFound")
        commit = self.server.heads[repository] if revision == "main" else revision
        files = self.server.commits.get((repository, commit))
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        if self.fault(name):
            return None
        content = files[name]
        if len(content) <= SMALL:
            return self.answer_file(name, content, {"X-Repo-Commit": commit, "ETag": '"small"'})
        oid = hashlib.sha256(content).hexdigest()
        self.server.large[oid] = content
        headers = {"Location": f"{self.server.elsewhere}/large/{oid}+{name}", "X-Repo-Commit": commit}
        return self.answer(302, b"", headers | {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))})

    def may_write(self):
        allowed = TOKENS.get(self.token)
        if allowed is None:
            self.refuse(401, message="Invalid username or password.")
        elif not allowed:
            self.refuse(403, message="You don't have the rights to create a dataset under this namespace")
        return bool(allowed)

    def create(self, order):
        name = f"{order['organization']}/{order['name']}"
        if name in self.server.heads:
            return self.answer_json({"url": f"{self.server.url}/datasets/{name}", "error": "exists"}, status=409)
        self.server.commit(name, {".gitattributes": b""})
        return self.answer_json({"url": f"{self.server.url}/datasets/{name}"})

    def upload(self, item):
        if item["oid"] in self.server.large:
            return item
        return item | {"actions": {"upload": {"href": f"{self.server.url}/upload/{item['oid']}"}}}

    def accept(self, repository, lines):
        if call := self.server.during_upload:
            self.server.during_upload = None
            call()
        header, *operations = lines
        parent = header["value"].get("parentCommit")
        if parent and parent != self.server.heads[repository]:
            return self.refuse(412, message="A commit has happened since.")
        files = dict(self.server.commits[repository, self.server.heads[repository]])
        for operation in operations:
            value = operation["value"]
            large = operation["key"] == "lfsFile"
            files[value["path"]] = self.server.large[value["oid"]] if large else base64.b64decode(value["content"])
        commit = self.server.commit(repository, files)
        url = f"{self.server.url}/datasets/{repository}/commit/{commit}"
        return self.answer_json({"commitOid": commit, "commitUrl": url})

    # --- answers

    def begin(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, self.headers.get("Range"), self.token))
        return path

    def fault(self, path):
        """Answer with the next failure that was ordered, if any."""
        statuses = self.server.failures.get(path.rsplit("/", 1)[-1])
        if not statuses:
            return False
        self.refuse(statuses.pop(0))
        return True

    def answer_file(self, path, content, headers=None):
        name = path.rsplit("/", 1)[-1]
        if content is None:
            return self.refuse(404)
        if self.server.damaged[name]:
            self.server.damaged[name] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers, status, total = dict(headers or {}), 200, len(content)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match and self.server.ranges:
            start, status = int(match[1]), 206
            if start >= total:
                return self.answer(416, b"", {"Content-Range": f"bytes */{total}"})
            content = content[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        cuts = self.server.cuts.get(name)
        return self.answer(status, content, headers, name, cuts.pop(0) if cuts else None)

    def refuse(self, status, code=None, message=None):
        headers = {"X-Error-Code": code} if code else {}
        self.answer_json({"error": message or code or "no"}, headers, status)

    def answer_json(self, value, headers=None, status=200):
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def answer(self, status, content, headers=None, name=None, cut=None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        part = content if cut is None else content[:cut]
        self.wfile.write(part)
        self.wfile.flush()
        if name:
            self.server.sent[name] += len(part)
        if cut is not None:
            if self.server.stall:
                self.server.stall.wait(60)
            self.close_connection = True


# --- fixtures

REPOSITORY = "omrl/data"
MIXED = "omrl/point-goal/mixed-v1"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """No waiting, no token, no source, nothing of this machine's own."""
    for name in ("HF_TOKEN", "HF_ENDPOINT", "OMRL_BENCH_DATA_SOURCE", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the server speaks Git LFS
    monkeypatch.setattr(hosting, "WAITS", (0.0, 0.0, 0.0))


@pytest.fixture
def server(monkeypatch):
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    # what the client made of the variable when it was imported
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield server
    server.close()


@pytest.fixture(scope="session")
def built_here(point, tmp_path_factory):
    """A root folder with small mixed and random datasets of point-goal, and a manifest that calls them canonical."""
    root = tmp_path_factory.mktemp("built") / "datasets"
    real = manifest.read_manifest(point)
    entries = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for quality in ("mixed", "random"):
            episodes = collect(point, quality, threads=1, episodes=2).episodes
            content = store.write_dataset(point, quality, episodes, (0.0, 1.0)).content
            counts = tuple(episodes.counts(len(point.tasks())).tolist())
            update = {"content": content, "episodes": counts, "transitions": len(episodes.rewards)}
            entries[quality] = real.datasets[quality].model_copy(update=update)
    return root, real.model_copy(update={"datasets": real.datasets | entries})


@pytest.fixture
def other(point, make_ragged):
    """Episodes that are not the benchmark's."""
    return make_ragged(point, episodes=(1, 1))


@pytest.fixture
def local(built_here, monkeypatch):
    """The root folder of `built_here`, in use; not to be changed."""
    root, own = built_here
    read = manifest.read_manifest
    monkeypatch.setattr(manifest, "read_manifest", lambda family: own if family.name == own.family else read(family))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root


@pytest.fixture
def hosted(root, local, point, monkeypatch):
    """Content of every file of a source with the mixed dataset, by path; the root folder in use is an empty one."""
    entry = describe(point, "mixed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    files = {f"{MIXED}/{name}": (local / MIXED / name).read_bytes() for name in entry.files}
    index = Index(schema=1, datasets={MIXED: entry})
    return files | {"index.json": index.model_dump_json(by_alias=True).encode()}


@pytest.fixture
def serve(server, tmp_path):
    """Host files in a way, `hub`, `web` or `file`: the source to pull from."""

    def host(way, files):
        if way == "hub":
            return f"hf://{REPOSITORY}@{server.commit(REPOSITORY, files)}"
        if way == "web":
            server.static = dict(files)
            return f"{server.url}/static"
        for name, content in files.items():
            path = tmp_path / "mirror" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return (tmp_path / "mirror").as_uri()

    return host


@pytest.fixture
def pull(invoke):
    """Pull point-goal's mixed dataset, by the command line."""

    def run(source, *more):
        return invoke("data", "pull", "point-goal", "--quality", "mixed", "--source", source, *more)

    return run


@pytest.fixture
def listed(recwarn):
    """What Minari lists; it warns of folders that are no datasets."""

    def names():
        recwarn.clear()
        found = list(minari.list_local_datasets())
        assert not recwarn.list
        return found

    return names


@pytest.fixture
def complete(root, local, listed):
    """Check that the mixed dataset is here, the same bytes as where it was built, and nothing else."""

    def check():
        here = {path.relative_to(root / MIXED): path.read_bytes() for path in files_below(root / MIXED)}
        assert here == {path.relative_to(local / MIXED): path.read_bytes() for path in files_below(local / MIXED)}
        assert [path.name for path in (root / MIXED).parent.iterdir() if path.is_dir()] == ["mixed-v1"]
        assert listed() == [MIXED]
        return True

    return check


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]
