"""Archives are read without unpacking; whatever is in them, the answer is their files or one sentence."""

import gzip
import io
import random
import re
import stat
import struct
import tarfile
import zipfile

import pytest

from genjax.data.sources import archives
from genjax.data.sources.archives import is_archive, members
from genjax.errors import DataError

FILES = {"project/setup.py": b"setup()\n", "project/src/a.py": b"a = 1\n" * 50, "project/README": b"hello", "b.py": b"b = 2\n"}
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tbz2": "w:bz2", ".tar.xz": "w:xz", ".txz": "w:xz"}
ENDINGS = [".zip", ".whl", *MODES]


def pack(path, files, more=()):
    """An archive of `files`; `more` are TarInfo objects, each with its content."""
    if path.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, next(mode for ending, mode in MODES.items() if path.name.endswith(ending))) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info, content in more:
            archive.addfile(info, io.BytesIO(content))
    return path


def read(path, limit=10_000):
    return dict(members(path, lambda name: True, limit))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_gives_its_files(tmp_path, ending):
    path = pack(tmp_path / f"code{ending}", FILES)
    assert is_archive(path.name) and is_archive(path.name.upper())
    assert list(members(path, lambda name: True, 10_000)) == list(FILES.items())
    assert read(path, limit=5) == {name: content[:6] for name, content in FILES.items()}
    assert list(dict(members(path, lambda name: name.startswith("project/s"), 10_000))) == [
        "project/setup.py",
        "project/src/a.py",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_other_files_are_no_archives():
    assert not any(map(is_archive, ("a.py", "a.gz", "zip", "a.py.gz", "a.7z", "a.zip.py")))


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_names_stay_within_and_hidden_files_out(tmp_path, ending):
    within = {"../../etc/passwd.py": "etc/passwd.py", "/root/x.py": "root/x.py", "a/../../b.py": "a/b.py", "./c.py": "c.py"}
    within |= {"w\\x\\y.py": "w/x/y.py", ".git/config.py": None, "a/.hidden/d.py": None, "..": None}
    path = pack(tmp_path / f"bad{ending}", {name: name.encode() for name in within})
    assert read(path) == {inside: name.encode() for name, inside in within.items() if inside}


def test_links_devices_and_folders_are_passed_over(tmp_path):
    more = []
    kinds = {"link.py": tarfile.SYMTYPE, "hard.py": tarfile.LNKTYPE, "pipe.py": tarfile.FIFOTYPE, "dir.py": tarfile.DIRTYPE}
    for name, kind in (kinds | {"null.py": tarfile.CHRTYPE}).items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        more.append((info, b""))
    assert read(pack(tmp_path / "links.tar", {"a.py": b"a"}, more)) == {"a.py": b"a"}

    with zipfile.ZipFile(tmp_path / "links.zip", "w") as archive:
        archive.writestr("dir/", "")
        archive.writestr("a.py", "a")
        link = zipfile.ZipInfo("link.py")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert read(tmp_path / "links.zip") == {"a.py": b"a"}


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_bombs_are_refused(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1 << 20)
    path = pack(tmp_path / f"bomb{ending}", {"a.py": b"a = 1\n", "zeros.bin": bytes(3 << 20), "b.py": b"b = 2\n"})
    message = re.escape(f"{path} of {path.stat().st_size:,} bytes unpacks to more than")
    with pytest.raises(DataError, match=message + " .*, which no archive of code does; unpack it yourself"):
        read(path)
    random_bytes = random.Random(0).randbytes(3 << 20)  # as large, and no bomb
    assert read(pack(tmp_path / f"large{ending}", {"a.py": random_bytes}), 4 << 20) == {"a.py": random_bytes}


def test_a_bomb_in_a_header_is_refused(tmp_path, monkeypatch):
    """A pax header's values are read into memory before any member is."""
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1 << 20)
    info = tarfile.TarInfo("a.py")
    info.pax_headers = {"comment": "0" * (3 << 20)}
    with tarfile.open(tmp_path / "pax.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(DataError, match="unpacks to more than"):
        read(tmp_path / "pax.tar.gz")


def test_a_zip_that_lies_about_sizes(tmp_path):
    path = pack(tmp_path / "lie.zip", {"a.py": b"a = 1\n" * 1000})
    content = path.read_bytes()
    size = struct.pack("<L", 6000)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<L", 60)))
    with pytest.raises(DataError, match=r"lie.zip cannot be read: Bad CRC-32 .*; restore it, or leave it out of data.path"):
        read(path)


def test_an_encrypted_zip(tmp_path):
    path = pack(tmp_path / "secret.zip", {"a.py": b"a = 1\n"})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="secret.zip is encrypted; unpack it yourself and set data.path to the folder"):
        read(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_no_archive_at_all(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    for content in (b"", b"x = 1\n" * 200, gzip.compress(b"x = 1\n" * 200)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(f"the archive {path} cannot be read: ")):
            read(path)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_damage_is_one_sentence_or_harmless(tmp_path, ending):
    whole = pack(tmp_path / f"whole{ending}", FILES | {"deep/" * 30 + "name.py": b"n", "ü.py": b"u"}).read_bytes()
    generator = random.Random(2)
    path, refused = tmp_path / f"damaged{ending}", 0
    for attempt in range(150):
        content = bytearray(whole)
        if attempt % 3 == 0:
            content = content[: generator.randrange(len(content))]
        for _ in range(attempt % 3):
            content[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            found = read(path)
        except DataError as error:
            refused += 1
            assert "damaged" in str(error)
        else:
            assert all(isinstance(content, bytes) for content in found.values())
    assert refused > 40
