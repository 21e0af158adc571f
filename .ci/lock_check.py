"""Resolves constraints.txt against the plain registry and names every gap. Run by `make lock-check`.

It looks at the platform that it runs on, for each Python that the project supports. Nothing is installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = (("cpu", "postgres", "mteb", "captions", "dev"), ("gpu",))

# What these two alone ask for are CUDA libraries. Each names the versions it was built with, so we pin none of them.
CUDA_OWNERS = frozenset({"torch", "faiss-gpu"})

Requirements = list[Requirement]
Packages = dict[str, dict[str, Any]]


@dataclass(frozen=True, order=True)
class Gap:
    """A package whose pin is missing or does not hold, and where that was seen."""

    package: str
    what: str
    where: str = ""


class Unresolvable(Exception):
    """pip found no set of packages that fits; carries what pip said."""


@dataclass(frozen=True)
class Registry:
    """The plain registry, asked through the pinned pip with an empty configuration."""

    folder: Path

    def resolve(self, requirements: Requirements, python: str) -> Packages:
        """Return the metadata of every package that pip would install for a Python, by name."""
        found = self._resolve_once(requirements, python)
        # pip reads markers with the Python that it runs on: what only another Python asks for is added by hand.
        while missing := absent(needs(requirements, found, markers(python)), found):
            requirements = [*requirements, *missing]
            found = self._resolve_once(requirements, python)
        return found

    def has(self, name: str, version: str, python: str) -> bool:
        """Tell whether a wheel of this version exists for a Python."""
        return self._pip(["--no-deps", f"{name}=={version}"], python).returncode == 0

    def _resolve_once(self, requirements: Requirements, python: str) -> Packages:
        report = self.folder / "report.json"
        wanted = [str(requirement) for requirement in requirements]
        done = self._pip(["--report", str(report), "--constraint", str(CONSTRAINTS), *wanted], python)
        if done.returncode:
            raise Unresolvable(why(done.stdout + done.stderr))
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
        return {canonicalize_name(package["metadata"]["name"]): package["metadata"] for package in found}

    def _pip(self, arguments: list[str], python: str) -> subprocess.CompletedProcess[str]:
        # fast-deps reads metadata out of remote wheels where a registry has no metadata files: 30 MB, not 4 GB.
        dry = ["--dry-run", "--use-feature=fast-deps", "--cache-dir", str(self.folder / "cache")]
        target = ["--target", str(self.folder / "target"), "--only-binary=:all:", "--python-version", python]
        command = [sys.executable, "-m", "pip", "install", *dry, *target, *arguments]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name == "PIP_CERT"}
        plain = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return {**kept, **plain, "PYTHONPATH": str(self.folder / "pip")}

    def fetch_pip(self, version: str) -> None:
        """Put the pinned pip beside the running one, which may be too old for the options used here."""
        if importlib.metadata.version("pip") == version:
            return
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(self.folder / "pip")]
        subprocess.run([*command, f"pip=={version}"], env=self._environment(), check=True)


def main() -> int:
    pins = read_pins(CONSTRAINTS.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    gaps = set(check(pins, project))
    for gap in sorted(gaps):
        print(f"GAP {gap.package}: {gap.what} {gap.where}".rstrip())
    print(f"{len(pins)} pins, {len(gaps)} gaps")
    return 1 if gaps else 0


def check(pins: dict[str, str], project: dict[str, Any]) -> Iterator[Gap]:
    """Resolve every set of extras for every Python, and yield what does not fit the pins."""
    used: set[str] = set()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        registry.fetch_pip(pins["pip"])
        for python in PYTHONS:
            for extras in EXTRAS:
                where = f"(Python {python}, extras {' '.join(extras)})"
                requirements = read_requirements(project, extras)
                try:
                    found = registry.resolve(requirements, python)
                except Unresolvable as reason:
                    failed = True
                    yield Gap("pip", str(reason), where)
                    yield from missing_wheels(pins, registry, python)
                    continue
                print(f"{len(found)} packages resolved {where}", flush=True)
                used |= found.keys()
                for name in sorted(wanting_pins(requirements, found, python) - pins.keys()):
                    yield Gap(name, f"resolved to {found[name]['version']} without a pin")
    if not failed:
        yield from (Gap(name, "pinned, but nothing asks for it") for name in pins.keys() - used)


def missing_wheels(pins: dict[str, str], registry: Registry, python: str) -> Iterator[Gap]:
    for name, version in pins.items():
        if not registry.has(name, version, python):
            yield Gap(name, f"no wheel of {version} on the registry", f"(Python {python})")


def read_pins(text: str) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): version for name, _, version in pairs}


def read_requirements(project: dict[str, Any], extras: Iterable[str]) -> Requirements:
    """Return what the project asks for with some extras, what builds it, and the pip that installs it."""
    optional = project["project"]["optional-dependencies"]
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"], "pip"]
    return [Requirement(line) for line in (*lines, *(line for extra in extras for line in optional[extra]))]


def wanting_pins(requirements: Requirements, found: Packages, python: str) -> set[str]:
    """Name the resolved packages that must have a pin: all but the CUDA libraries of torch and faiss-gpu.

    A CUDA library is reached through one of the two alone, and torch asks for it on Linux alone. The rest of what
    torch asks for, its CPU build needs as well.
    """
    without_owners = needs(requirements, found, markers(python), closed=CUDA_OWNERS)
    nowhere = {**markers(python), "platform_system": "", "sys_platform": ""}
    off_linux = needs(requirements, found, nowhere, closed=frozenset({"faiss-gpu"}))
    return {str(canonicalize_name(need.name)) for need in (*without_owners, *off_linux)} & found.keys()


def absent(requirements: Requirements, found: Packages) -> Requirements:
    return [need for need in requirements if canonicalize_name(need.name) not in found]


def needs(
    requirements: Requirements, found: Packages, environment: dict[str, str], *, closed: frozenset[str] = frozenset()
) -> Requirements:
    """Return the requirements, and those of the packages that they lead to, past none of the closed packages."""
    reached: dict[str, Requirement] = {}
    ahead = [need for need in requirements if need.marker is None or need.marker.evaluate(environment)]
    while ahead:
        need = ahead.pop()
        if str(need) in reached:
            continue
        reached[str(need)] = need
        name = canonicalize_name(need.name)
        if name in closed:
            continue
        for line in found.get(name, {}).get("requires_dist", []):
            ahead.extend(applying(Requirement(line), need.extras, environment))
    return list(reached.values())


def applying(need: Requirement, extras: set[str], environment: dict[str, str]) -> Requirements:
    """Return the requirement, without its marker, if it holds for one of the extras or for none."""
    holds = need.marker is None or any(need.marker.evaluate({**environment, "extra": e}) for e in ("", *extras))
    bare = Requirement(f"{canonicalize_name(need.name)}{extras_of(need)}{need.specifier}")
    return [bare] if holds else []


def extras_of(need: Requirement) -> str:
    return f"[{','.join(sorted(need.extras))}]" if need.extras else ""


def markers(python: str) -> dict[str, str]:
    full = f"{python}.0"
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "python_version": python, "python_full_version": full, "implementation_version": full}


def why(said: str) -> str:
    """Return the lines in which pip says what does not fit, as one line."""
    telling = re.compile(r"ERROR: (?!ResolutionImpossible)|\s+The user requested \(constraint\)|\s+\S+ \S+ depends on ")
    lines = [line.strip().removeprefix("ERROR: ") for line in said.splitlines() if telling.match(line)]
    return "; ".join(lines) or said.strip()


if __name__ == "__main__":
    sys.exit(main())
