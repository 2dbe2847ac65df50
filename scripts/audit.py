#!/usr/bin/env python3
"""Check the locked packages for published vulnerabilities, by pip-audit, which uv runs in an environment of its own.

PyPI is asked, then, if it does not answer for every package, OSV. Exit status 1: vulnerabilities were found; 3: neither
service knew all packages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = "pip-audit==2.10.1"
SERVICES = {"pypi": "https://pypi.org/pypi/NAME/VERSION/json", "osv": "https://api.osv.dev"}
CLEAN, FOUND, NOT_AUDITED = 0, 1, 3
TIMEOUT_S = 300


def export(uv: str, into: Path) -> None:
    """Write the image's requirements, at the versions of uv.lock."""
    command = [uv, "export", "--quiet", "--frozen", "--no-dev", "--extra", "chatterbox"]
    subprocess.run([*command, "--no-hashes", "--no-emit-project", "--output-file", str(into)], cwd=ROOT, check=True)


def audit(uv: str, requirements: Path, service: str) -> list[dict[str, Any]] | str:
    """Each package with its vulnerabilities, or why the audit failed."""
    command = [uv, "tool", "run", "--python", sys.executable, PIP_AUDIT, "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "-s", service, "-f", "json", "-r", str(requirements)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return f"it gave no answer in {TIMEOUT_S} s"
    except (json.JSONDecodeError, KeyError):
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1][:300]
    return packages


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}"


def report(service: str, packages: list[dict[str, Any]] | str) -> int:
    """Print a service's answer; the exit status."""
    where = f"{service} ({SERVICES[service]})"
    if isinstance(packages, str):
        print(f"NOT AUDITED by {where}: {packages}", file=sys.stderr)
        return NOT_AUDITED
    found, missing = list(findings(packages)), sum("skip_reason" in package for package in packages)
    print(*found, sep="\n", end="\n" if found else "")
    if missing or not packages:
        print(f"NOT AUDITED by {where}: it knew nothing of {missing} of {len(packages)} packages", file=sys.stderr)
        return FOUND if found else NOT_AUDITED
    print(f"{len(packages)} packages audited by {where}: {len(found) or 'no'} known vulnerabilities")
    return FOUND if found else CLEAN


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv to run")
    uv = str(parser.parse_args().uv)
    status = NOT_AUDITED
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        export(uv, requirements)
        for service in SERVICES:
            status = report(service, audit(uv, requirements, service))
            if status != NOT_AUDITED:
                break
    return status


if __name__ == "__main__":
    sys.exit(main())
