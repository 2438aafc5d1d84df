"""Licences are recognized by their own texts, as they lie beside this Python and in Debian's folder."""

import importlib.metadata
import re
import sysconfig
from pathlib import Path

import pytest

from genjax.data.code.licences import LICENCE_FILE, PHRASES, allowed, declared_licence, guess_licence, named_licence

DEBIAN = Path("/usr/share/common-licenses")
GNU = {"Apache-2.0": "Apache-2.0", "CC0-1.0": "CC0-1.0", "GPL-2": "GPL-2.0", "GPL-3": "GPL-3.0", "LGPL-2": "LGPL-2.0"}
GNU |= {"LGPL-2.1": "LGPL-2.1", "LGPL-3": "LGPL-3.0", "MPL-2.0": "MPL-2.0", "BSD": "BSD-3-Clause", "Artistic": "", "GFDL-1.3": ""}


def test_the_guess_agrees_with_what_packages_declare():
    known, agreed = {row[0] for row in PHRASES}, []
    for distribution in importlib.metadata.distributions():
        declared = distribution.metadata.get("License-Expression")
        for file in distribution.files or () if declared in known else ():
            if re.fullmatch(r"(?i)(licen[cs]e|copying)(\.txt|\.md|\.rst)?", file.name) and "dist-info" in file.parts[0]:
                text = Path(distribution.locate_file(file)).read_text(encoding="utf-8", errors="replace")
                agreed.append((guess_licence(text) == declared, distribution.metadata["Name"]))
    wrong = [name for right, name in agreed if not right]
    assert len(agreed) > 20 and len(wrong) <= len(agreed) / 20, wrong  # a file may hold the licences of bundled code first


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="not a Debian system")
@pytest.mark.parametrize(("name", "licence"), GNU.items())
def test_the_texts_of_the_licences(name, licence):
    if not (DEBIAN / name).is_file():
        pytest.skip(f"this system has no {name}")
    assert guess_licence((DEBIAN / name).read_text(encoding="utf-8", errors="replace")) == licence


def test_python_s_own_licence():
    files = [Path(sysconfig.get_path("stdlib"), name) for name in ("LICENSE.txt", "LICENSE")]
    texts = [file.read_text() for file in files if file.is_file()]
    if not texts:
        pytest.skip("this Python came without its licence")
    assert guess_licence(texts[0]) == "PSF-2.0"


MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy, to deal in the Software without
restriction, subject to the following conditions: The above copyright notice and this permission notice shall be included."""
ISC = "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        (MIT, "MIT"),
        ("\n".join("// " + line for line in MIT.splitlines()), "MIT"),
        (MIT.split("subject")[0], "MIT-0"),
        (ISC + ", provided that the above copyright notice appear in all copies.", "ISC"),
        (ISC + ".", "0BSD"),
        (f"{MIT}\n\nBundled: Apache License, Version 2.0", "MIT"),
        ("All rights reserved. Do not copy.", ""),
        ("", ""),
    ],
)
def test_short_licences(text, licence):
    assert guess_licence(text) == licence


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("MIT License", "MIT"),
        ("The MIT License", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("new BSD", "BSD-3-Clause"),
        ("BSD License", ""),
        ("GNU General Public License v3 (GPLv3)", "GPL-3.0"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("proprietary", ""),
    ],
)
def test_common_names(name, licence):
    assert named_licence(name) == licence


def test_declarations_in_a_file():
    assert declared_licence("#!/bin/sh\n# SPDX-License-Identifier: MIT\n") == "MIT"
    assert declared_licence("/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-3-Clause) */") == "(GPL-2.0-only OR BSD-3-Clause)"
    assert declared_licence("x = 1\n" * 1000 + "# SPDX-License-Identifier: MIT") == ""


@pytest.mark.parametrize(
    ("licence", "patterns", "fits"),
    [
        ("MIT", ("mit",), True),
        ("BSD-3-Clause", ("MIT", "BSD-*"), True),
        ("GPL-3.0", ("MIT", "BSD-*"), False),
        ("MIT OR GPL-3.0", ("MIT",), True),
        ("MIT AND GPL-3.0", ("MIT",), False),
        ("(MIT AND BSD-2-Clause)", ("MIT", "BSD-*"), True),
        ("GPL-2.0 AND MIT OR Apache-2.0", ("Apache-2.0",), True),
        ("", ("MIT",), False),
        ("", ("MIT", ""), True),
    ],
)
def test_expressions_that_are_allowed(licence, patterns, fits):
    assert allowed(licence, patterns) is fits


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENCE.txt", "license-MIT", "COPYING", "COPYING.LESSER", "UNLICENSE", "License.md"]
)
def test_names_of_licence_files(name):
    assert LICENCE_FILE.fullmatch(name) and not LICENCE_FILE.fullmatch("my" + name)
