#!/usr/bin/env python3
"""THIRD_PARTY.md: the packages that the image installs, each with the licence that its own metadata states.

    .venv/bin/python scripts/third_party.py [--check]

uv.lock says which packages, the distributions installed beside this Python say under what licence. Exit status 1: with
--check, the file is not what would be written; always, a package is under the GPL or AGPL, or states no licence.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD_PARTY.md"
# As in the Dockerfile's `uv sync`.
EXPORT = ("--no-dev", "--extra", "chatterbox", "--no-hashes", "--no-emit-project", "--no-annotate", "--no-header")
LONGEST_NAME = 80  # characters of a licence's name; what is longer is its text
# "GNU Library or Lesser General Public License" is the classifier of the LGPL.
LESSER = re.compile(r"(Library or )?Lesser General Public License|LGPL[\w.+-]*", re.IGNORECASE)
STRONG = re.compile(r"GPL|General Public License|Affero", re.IGNORECASE)

HEAD = """\
# Third-party software in the image

The packages that the image installs on top of its base, made by `scripts/third_party.py` from uv.lock and the packages'
own metadata. A test keeps it current, and fails where a package is under the GPL or the AGPL, or states no licence. The
LGPL is allowed: such packages are separate files, unchanged and replaceable. Debian's packages in the base state their
licences in `/usr/share/doc/*/copyright`.

The wheel of `av` (BSD-3-Clause) contains FFmpeg (LGPL-3) and, for FFmpeg to encode video, x264 and x265 (GPL-2). The
image has libraries that do nothing in place of these two: `scripts/stub_video_codecs.py`.

"""


@dataclass(frozen=True, slots=True)
class Package:
    """`statements` of the licence in the metadata, the most exact first."""

    name: str
    version: str
    statements: tuple[str, ...]

    @property
    def licence(self) -> str:
        return self.statements[0] if self.statements else "none is stated"

    @property
    def is_refused(self) -> bool:
        """Whether a statement allows only the GPL or AGPL, or there is no statement."""
        return not self.statements or any(is_gpl(statement) for statement in self.statements)


def is_gpl(licence: str) -> bool:
    """Whether each alternative of a licence's name or SPDX expression is the GPL or AGPL. The LGPL is neither."""
    return all(STRONG.search(LESSER.sub("", choice)) for choice in licence.split(" OR "))


def statements(metadata: importlib.metadata.PackageMetadata) -> tuple[str, ...]:
    """The SPDX expression, the name of the licence, and its classifiers, where they are names and not whole texts."""
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    named = [text for field in ("License-Expression", "License") for text in metadata.get_all(field) or ()]
    first_lines = [name.strip().split("\n")[0].strip() for name in (*named, *classifiers)]
    return tuple(line for line in first_lines if line and len(line) <= LONGEST_NAME and "Copyright" not in line)


def image_requirements(uv: str = ".uv/bin/uv") -> list[Requirement]:
    """The image's packages in uv.lock, for this Python and platform."""
    exported = subprocess.run([uv, "export", "--quiet", "--frozen", *EXPORT], cwd=ROOT, check=True, capture_output=True)
    parsed = [Requirement(line) for line in exported.stdout.decode().splitlines() if line.strip()]
    return [one for one in parsed if one.marker is None or one.marker.evaluate()]


def packages() -> list[Package]:
    found = [importlib.metadata.distribution(one.name) for one in image_requirements()]
    return [Package(one.name, one.version, statements(one.metadata)) for one in found]


def document(found: list[Package]) -> str:
    in_order = sorted(found, key=lambda one: one.name.lower())
    rows = [f"| {one.name} | {one.version} | {one.licence} |\n" for one in in_order]
    return "".join([HEAD, "| package | version | licence |\n|---|---|---|\n", *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the file is current")
    check = parser.parse_args().check
    found = packages()
    refused = [one for one in found if one.is_refused]
    for one in refused:
        print(f"{one.name} {one.version}: {', '.join(one.statements) or one.licence}", file=sys.stderr)
    is_stale = not FILE.exists() or FILE.read_text() != document(found)
    if not check:
        FILE.write_text(document(found))
    elif is_stale:
        print("THIRD_PARTY.md is not current: run scripts/third_party.py", file=sys.stderr)
    return 1 if refused or (check and is_stale) else 0


if __name__ == "__main__":
    sys.exit(main())
