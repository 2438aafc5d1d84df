"""Which licence a text is, as an SPDX identifier: a table of phrases, no more.

A guess is good enough to sort a corpus and to say where a passage came from. It is no legal advice: "" means unknown.
"""

import re
from fnmatch import fnmatchcase

LICENCE_FILE = re.compile(r"(?i)(un)?(licen[cs]e|copying)([-._].*)?")

# Licence, phrases (joined by &) that all occur in its text, and one that does not. Texts are compared in lower case with every
# run of white space as one space. Of rows that begin alike, the first that fits is taken.
PHRASES = (
    ("AGPL-3.0", "gnu affero general public license version 3", ""),
    ("LGPL-3.0", "gnu lesser general public license version 3", ""),
    ("LGPL-2.1", "gnu lesser general public license version 2.1", ""),
    ("LGPL-2.0", "gnu library general public license version 2", ""),
    ("GPL-3.0", "gnu general public license version 3", ""),
    ("GPL-2.0", "gnu general public license version 2", ""),
    ("MPL-2.0", "mozilla public license version 2.0", ""),
    ("MPL-2.0", "mozilla public license, version 2.0", ""),
    ("EPL-2.0", "eclipse public license - v 2.0", ""),
    ("PSF-2.0", "python software foundation license version 2", ""),
    ("Apache-2.0", "apache license version 2.0", ""),
    ("Apache-2.0", "apache license, version 2.0", ""),
    ("CC0-1.0", "cc0 1.0 universal", ""),
    ("CC-BY-SA-4.0", "creative commons attribution-sharealike 4.0", ""),
    ("CC-BY-4.0", "creative commons attribution 4.0", ""),
    ("Unlicense", "this is free and unencumbered software released into the public domain", ""),
    ("BSL-1.0", "boost software license - version 1.0", ""),
    ("Zlib", "altered source versions must be plainly marked as such", ""),
    ("WTFPL", "do what the fuck you want to public license", ""),
    ("BSD-4-Clause", "redistribution and use in source and binary forms&all advertising materials mentioning", ""),
    ("BSD-3-Clause", "redistribution and use in source and binary forms&neither the name", ""),
    ("BSD-3-Clause", "redistribution and use in source and binary forms&may not be used to endorse", ""),
    ("BSD-2-Clause", "redistribution and use in source and binary forms&this list of conditions", ""),
    ("MIT", "permission is hereby granted, free of charge&the above copyright notice and this permission notice", ""),
    ("MIT-0", "permission is hereby granted, free of charge&without restriction", "subject to the following"),
    ("ISC", "distribute this software for any purpose with or without fee is hereby granted, provided that", ""),
    ("0BSD", "distribute this software for any purpose with or without fee is hereby granted", ""),
    ("HPND", "permission to use, copy, modify, and distribute this software and its documentation for any purpose", ""),
)

# Names that packages give in their metadata, in lower case and without "license", "the", "version" and punctuation.
NAMES = {
    "0bsd": "0BSD",
    "agpl 3 0": "AGPL-3.0",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2 0": "Apache-2.0",
    "apache software": "Apache-2.0",
    "apache software 2 0": "Apache-2.0",
    "bsd 2 clause": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "boost software 1 0 bsl 1 0": "BSL-1.0",
    "cc0 1 0": "CC0-1.0",
    "gnu general public v2 gplv2": "GPL-2.0",
    "gnu general public v3 gplv3": "GPL-3.0",
    "gpl 2 0": "GPL-2.0",
    "gplv2": "GPL-2.0",
    "gpl 3 0": "GPL-3.0",
    "gplv3": "GPL-3.0",
    "gnu lesser general public v3 lgplv3": "LGPL-3.0",
    "lgpl 3 0": "LGPL-3.0",
    "isc": "ISC",
    "isc iscl": "ISC",
    "mit": "MIT",
    "expat": "MIT",
    "mit no attribution mit 0": "MIT-0",
    "mozilla public 2 0 mpl 2 0": "MPL-2.0",
    "mpl 2 0": "MPL-2.0",
    "psf": "PSF-2.0",
    "psf 2 0": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "unlicense unlicense": "Unlicense",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
}
_DECLARED = re.compile(r"SPDX-License-Identifier:\s*([\w.+() -]*[\w.+)])")


def guess_licence(text: str) -> str:
    """The SPDX identifier of a licence's text, "" when no row of the table fits; of several licences, the one that comes first.

    The versions of the GNU licences are given without "-only" or "-or-later", which the licence's text does not say.
    """
    plain = re.sub(r"[\s*#/]+", " ", text[:40_000].lower().replace("\u201c", '"').replace("licence", "license"))
    found = []
    for row, (licence, phrases, without) in enumerate(PHRASES):
        places = [plain.find(phrase) for phrase in phrases.split("&")]
        if min(places) >= 0 and not (without and without in plain):
            found.append((places[0], row, licence))
    return min(found)[-1] if found else ""


def declared_licence(text: str) -> str:
    """What the line `SPDX-License-Identifier:` in the first 2,000 characters of a file says, "" without one."""
    found = _DECLARED.search(text, 0, 2000)
    return found[1].strip() if found else ""


def named_licence(name: str) -> str:
    """The SPDX identifier of a licence's common name ("MIT License", "new BSD"), "" for a name that is not known."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower().replace("licence", "license"))
    words = re.sub(r"\b(the|license|version)\b", " ", words)
    return NAMES.get(" ".join(words.split()), "")


def allowed(licence: str, patterns: tuple[str, ...]) -> bool:
    """Whether an SPDX expression fits the patterns: one side of an OR must, all sides of an AND.

    Args:
        licence: "MIT", "MIT OR Apache-2.0", "" for unknown.
        patterns: identifiers, or patterns such as "BSD-*"; "" allows what is unknown.
    """

    def fits(identifier: str) -> bool:
        return any(fnmatchcase(identifier.strip("() ").lower(), pattern.lower()) for pattern in patterns)

    return any(all(fits(each) for each in side.split(" AND ")) for side in licence.split(" OR "))
