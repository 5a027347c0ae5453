"""Fail where requirements.lock does not pin, with hashes, what pyproject.toml asks for, or where it pins a peer."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("build", "test", "lint", "docs")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ]+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)+)", re.MULTILINE)


def complaints(project: dict, lock: str) -> list[str]:
    pins: dict[str, set[str]] = {}
    for name, version, _ in PIN.findall(lock):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    found = [f"no hashes: {line}" for line in re.findall(r"^[a-zA-Z].*[^\\]$", lock, re.MULTILINE)]
    groups = project["dependency-groups"]
    asked = project["project"]["dependencies"] + [item for group in GROUPS for item in groups[group]]
    for requirement in map(Requirement, asked):
        versions = pins.get(canonicalize_name(requirement.name), set())
        if not any(requirement.specifier.contains(version) for version in versions):
            found.append(
                f"pyproject.toml asks for {requirement}, and the lock has {sorted(versions) or 'none'}: make lock"
            )
    peers = {canonicalize_name(Requirement(item).name) for item in groups["bench"]} | {"torch"}
    found += [f"a peer in the lock: {name}" for name in sorted(peers & set(pins))]
    found += [
        f"a place of downloads in the lock: {line}"
        for line in re.findall(r"^.*(?:://|--find-links).*$", lock, re.MULTILINE)
    ]
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = complaints(project, (ROOT / "requirements.lock").read_text())
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
