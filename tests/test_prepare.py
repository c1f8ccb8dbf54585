"""Downloads resume and are checked; extraction refuses everything that is not a plain file inside its folder."""

from __future__ import annotations

import hashlib
import io
import random
import re
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmark.data.download import download, extract, fetch
from benchmark.datasets.files import FileDataset
from benchmark.datasets.sources import ARCHIVES, STEPS, Archive
from benchmark.errors import DataError
from benchmark.registry import DATASETS

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several blocks


class Server(ThreadingHTTPServer):
    """Serves `content`; can drop the connection, and can ignore Range."""

    content = CONTENT
    drop_at: int | None = None
    ranges = True
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path.endswith("/absent"):
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        start = int(re.sub(r"\D", "", asked)) if asked and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.drop_at is None else body[: self.server.drop_at])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def archive(server: Server, name: str = "set.tar", content: bytes | None = None) -> Archive:
    digest = hashlib.sha256(server.content if content is None else content).hexdigest()
    return Archive(f"http://127.0.0.1:{server.server_port}/{name}", digest)


def silent(done: int, total: int) -> None:
    assert 0 < done <= total


def test_download_resumes_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.drop_at = 3_000_000
    with pytest.raises(DataError, match="run the same command again to resume"):
        download(archive(server), tmp_path / "set.tar", silent)
    assert not (tmp_path / "set.tar").exists()
    server.drop_at = None
    seen: list[tuple[int, int]] = []
    download(archive(server), tmp_path / "set.tar", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "set.tar").read_bytes() == CONTENT
    assert server.asked == ["", "bytes=3000000-"]
    assert seen[0][0] > 3_000_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(b"something else")
    server.ranges = False
    download(archive(server), tmp_path / "set.tar", silent)
    assert (tmp_path / "set.tar").read_bytes() == CONTENT


def test_a_complete_part_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT)
    download(archive(server), tmp_path / "set.tar", silent)
    assert (tmp_path / "set.tar").read_bytes() == CONTENT


def test_no_answer_is_one_clear_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="answers 404; download it by hand"):
        download(archive(server, "absent"), tmp_path / "set.tar", silent)
    with pytest.raises(DataError, match="cannot download"):
        download(Archive("http://127.0.0.1:9/x.tar", ""), tmp_path / "x.tar", silent)


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as file:
        for info, data in members:
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_fetch_downloads_checks_and_extracts(server: Server, tmp_path: Path) -> None:
    tar_of(tmp_path / "made.tar", (member("bottle/train/good/000.png"), b"pixels" * 100))
    server.content = (tmp_path / "made.tar").read_bytes()
    root = tmp_path / "data"
    target = fetch("mvtec_ad", archive(server), root, silent)
    assert target == root / "mvtec_ad"
    assert (target / "bottle/train/good/000.png").read_bytes() == b"pixels" * 100
    assert [path.name for path in root.iterdir()] == ["mvtec_ad"]
    with pytest.raises(DataError, match="exists already"):
        fetch("mvtec_ad", archive(server), root, silent)


def test_another_digest_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected"):
        fetch("mvtec_ad", archive(server, content=b"other"), tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "info",
    [
        member("../outside.txt"),
        member("/etc/outside.txt"),
        member("a/../../outside.txt"),
        member("C:/outside.txt"),
        member("..\\outside.txt"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "good.txt"),
        member("pipe", tarfile.FIFOTYPE),
        member("disk", tarfile.BLKTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode()}",
)
def test_tar_members_outside_links_and_devices(info: tarfile.TarInfo, tmp_path: Path) -> None:
    data = b"x" if info.isreg() else b""
    tar_of(tmp_path / "bad.tar.gz", (member("good.txt"), b"fine"), (info, data))
    with pytest.raises(DataError, match="refused"):
        extract(tmp_path / "bad.tar.gz", tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "outside.txt").exists()


def zip_of(path: Path, name: str, data: bytes, mode: int = 0) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        info = zipfile.ZipInfo(name)
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
        file.writestr(info, data)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: zip_of(path, "../outside.txt", b"x"),
        lambda path: zip_of(path, "link", b"/etc/passwd", stat.S_IFLNK | 0o777),
        lambda path: zip_of(path, "bomb.bin", bytes(50_000_000)),
        lambda path: tar_of(path, (member("bomb.bin"), bytes(50_000_000))),
        lambda path: path.write_bytes(b"no archive at all"),
        lambda path: tar_of(path, (member("a"), b"1"), (member("a"), b"2")),
    ],
    ids=["outside", "link", "zip bomb", "tar bomb", "garbage", "twice"],
)
def test_zip_bombs_and_damage(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "bad.zip")
    with pytest.raises(DataError, match=r"refused|cannot be extracted"):
        extract(tmp_path / "bad.zip", tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_cut_archive_leaves_nothing(cut: float, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    tar_of(whole, *((member(f"{n}.bin"), random.Random(n).randbytes(50_000)) for n in range(9)))
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * cut)])
    with pytest.raises(DataError, match="cannot be extracted"):
        extract(tmp_path / "cut.tar.gz", tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


def test_every_file_data_set_has_a_way_to_get_it() -> None:
    blank = {name: DATASETS.get(name)(None) for name in DATASETS}
    names = {name for name, dataset in blank.items() if isinstance(dataset, FileDataset) and dataset.root is None}
    assert names == set(STEPS)
    assert set(ARCHIVES) <= names
    assert all(re.fullmatch("[0-9a-f]{64}", a.sha256) and a.url.startswith("https://") for a in ARCHIVES.values())
