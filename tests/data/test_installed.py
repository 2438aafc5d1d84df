"""The packages beside this Python as a source, and sources made of others."""

import importlib.metadata
import re
import sysconfig

import pytest

from genjax.data.sources.combined import Joined, Repositories
from genjax.data.sources.document import Document
from genjax.data.sources.installed import InstalledPackages
from genjax.errors import DataError


@pytest.fixture(scope="module")
def installed():
    return InstalledPackages()


def test_a_package_s_files_carry_its_name_and_licence(installed):
    found = {path: (repository, licence) for repository, path, licence, _ in installed.documents}
    cases = (("numpy", "numpy/__init__.py", None), ("tqdm", "tqdm/std.py", None), ("absl-py", "absl/app.py", "Apache-2.0"))
    for package, file, licence in cases:
        listed = [str(f) for f in importlib.metadata.files(package) if f.suffix == ".py"]
        assert file in listed
        assert {found[path][0] for path in listed if path in found} == {package}
        assert licence is None or found[file] == (package, licence)
    assert not any({"test", "tests"} & set(path.split("/")[:-1]) for path in found)
    assert any("/tests/" in path for _, path, *_ in InstalledPackages(include_tests=True).documents)


def test_packages_come_one_after_the_other(installed):
    order = [repository for repository, *_ in installed.documents]
    assert order == sorted(order) and len(set(order)) > 20
    licences = {repository: licence for repository, _, licence, _ in installed.documents}
    assert sum(map(bool, licences.values())) > 0.8 * len(licences)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


def install(site, name, metadata, files):
    """Writes a distribution's files and what pip would write beside them."""
    info = f"{name}-1.0.dist-info"
    files = {f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}"} | files
    for file, content in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text(content)
    (site / info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("License: BSD 3-Clause\n", "BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("License: see the file\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "ISC"),  # which BSD? the file says what it is
        ("", "ISC"),
    ],
)
def test_where_a_licence_comes_from(site, metadata, licence):
    text = "Permission to ... distribute this software for any purpose with or without fee is hereby granted, provided that"
    files = {"My_Pkg/a.py": "a = 1\n", "space/part/b.py": "b = 1\n", "My_Pkg-1.0.dist-info/licenses/LICENSE": text}
    install(site, "My_Pkg", metadata, files)
    (site / "space/other.py").write_text("# SPDX-License-Identifier: Zlib\n")
    assert list(InstalledPackages()) == [
        Document("My_Pkg/a.py", "a = 1\n", "python", licence, "my-pkg"),
        Document("space/part/b.py", "b = 1\n", "python", licence, "my-pkg"),
        Document("space/other.py", "# SPDX-License-Identifier: Zlib\n", "python", "Zlib", "space"),  # nobody's: its folder's
    ]


def test_a_python_without_packages(site):
    with pytest.raises(DataError, match=f"no Python packages are installed in {re.escape(str(site))}; use another data.source"):
        list(InstalledPackages())


class Listed(list):
    title, fingerprint = "a list", "f"


LIST = Listed(Document(f"{name}.py", name, repository=name) for name in ("jax", "jaxlib", "numpy", "flax"))


def test_repositories_by_name_and_pattern():
    chosen, rest = (Repositories(LIST, ("jax*", "flax"), inside=inside) for inside in (True, False))
    assert [d.text for d in chosen] == ["jax", "jaxlib", "flax"] and [d.text for d in rest] == ["numpy"]
    assert chosen.title == "a list (jax*, flax)" and rest.title == "a list (without jax*, flax)"
    assert len({chosen.fingerprint, rest.fingerprint, Repositories(LIST, ("jax*",)).fingerprint, LIST.fingerprint}) == 4
    with pytest.raises(
        DataError, match="no repository of a list fits torch; it has flax, jax, jaxlib, numpy. Set data.evaluation_rep"
    ):
        list(Repositories(LIST, ("torch",)))
    with pytest.raises(DataError, match=r"no repository of a list is left beside \*; it has flax,"):
        list(Repositories(LIST, ("*",), inside=False))


def test_sources_one_after_the_other():
    other = Listed([Document("x.py", "x")])
    joined = Joined((LIST, other))
    assert [d.text for d in joined] == ["jax", "jaxlib", "numpy", "flax", "x"]
    assert joined.title == "a list and a list" and joined.fingerprint != Joined((LIST,)).fingerprint
