"""Makes .venv and installs the project into it. Run by `make install` with the system's Python, hence stdlib only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
UNDERWAY = VENV / ".installing"
SOURCES = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
OLDEST = (3, 11)

# faiss-cpu, faiss-gpu and their variants all own the module `faiss`.
FAISS = re.compile(r"^faiss-")
CUDA = re.compile(r"^(nvidia|cuda|triton)\b")

CUDA_NOTICE = """\
make install: no NVIDIA GPU here, and pip offers torch {version} as a CUDA build: about 3 GB to download.
    A CPU build is about 200 MB and does the same here. pytorch.org's install page gives the address of the
    index of CPU builds; to take torch from there, stop this and run
        TORCH_INDEX=<that address> make install
    Going on with the CUDA build."""
CPU_NOTICE = """\
make install: an NVIDIA GPU is here, but pip offers torch {version}, a CPU build: models will run on the CPU."""


class Stop(Exception):
    """A reason to stop, said in one line."""


def main() -> int:
    try:
        install(os.environ.get("TORCH_INDEX") or None)
    except Stop as reason:
        print(f"make install: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make install: interrupted; run it again to finish", file=sys.stderr)
        return 130
    return 0


def install(torch_index: str | None) -> None:
    """Bring .venv to what pyproject.toml and constraints.txt ask for; do nothing when it is there already."""
    check_python(sys.version_info[:2])
    extra = "gpu" if has_gpu() else "cpu"
    stamp = read_stamp()
    wanted = {"root": str(ROOT), "extra": extra, "torch_index": torch_index or stamp.get("torch_index")}
    if stamp == wanted and is_newer(STAMP, SOURCES) and is_whole():
        return

    started = time.time()
    if not is_whole():
        make_venv()
    with underway():
        print(f"== installing sightline[{extra},dev] into .venv", flush=True)
        pip("install", "--quiet", "--upgrade", "-c", "constraints.txt", "pip")
        remove_other_builds(extra)
        choose_torch(extra, torch_index, is_new_index=torch_index != stamp.get("torch_index"))
        pip("install", "-c", "constraints.txt", "--build-constraint", "constraints.txt", "-e", f".[{extra},dev]")
    STAMP.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
    # An edit made while pip ran counts as newer than the stamp.
    os.utime(STAMP, (started, started))


@contextmanager
def underway() -> Iterator[None]:
    """Leave a mark in .venv when the work inside is cut short, so that the next run starts with a fresh one."""
    UNDERWAY.touch()
    try:
        yield
    except Stop:
        # pip undoes what it could not finish; only a kill leaves packages half-written.
        UNDERWAY.unlink()
        raise
    UNDERWAY.unlink()


def check_python(version: tuple[int, ...]) -> None:
    if version < OLDEST:
        raise Stop(
            f"Python {dotted(OLDEST)} or newer is needed, this is {dotted(version)}; "
            "name a newer one: make install PYTHON=python3.11"
        )


def has_gpu() -> bool:
    """Tell whether the NVIDIA driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def read_stamp() -> dict[str, Any]:
    try:
        return dict(json.loads(STAMP.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def is_newer(path: Path, sources: tuple[Path, ...]) -> bool:
    return path.exists() and all(path.stat().st_mtime > source.stat().st_mtime for source in sources)


def is_whole() -> bool:
    """Tell whether .venv has a Python that is new enough, with pip, made for this folder by a run that ended."""
    if UNDERWAY.exists() or read_stamp().get("root", str(ROOT)) != str(ROOT):
        return False
    question = f"import sys, pip; sys.exit(sys.version_info[:2] < {OLDEST})"
    try:
        return subprocess.run([str(PYTHON), "-c", question], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# ---------------------------------------------------------------------------------------------------- the folder .venv


def make_venv() -> None:
    """Make .venv, over whatever an interrupted run left there."""
    print("== making .venv", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise Stop(why_no_venv(made.stdout + made.stderr))


def why_no_venv(output: str) -> str:
    """Turn what `python -m venv` printed when it failed into one line that says what to do."""
    if "ensurepip" in output or "No module named venv" in output:
        return "this Python has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)"
    lines = output.strip().splitlines() or ["it gave no reason"]
    return f"could not make .venv: {lines[-1]}"


# --------------------------------------------------------------------------------------------- which build of a package


def remove_other_builds(extra: str) -> None:
    """Uninstall the FAISS and torch builds that may not stay beside or in place of the wanted ones."""
    listed = json.loads(ask_pip("list", "--format=json"))
    unwanted = builds_to_remove({package["name"]: package["version"] for package in listed}, extra)
    if unwanted:
        print(f"== removing {', '.join(unwanted)}", flush=True)
        pip("uninstall", "--yes", *unwanted)


def builds_to_remove(installed: dict[str, str], extra: str) -> list[str]:
    """Name the installed packages to uninstall before the extra `cpu` or `gpu` goes in."""
    faiss = sorted(name for name in installed if FAISS.match(name))
    # With two of them installed, removing one takes the other's files along: all go, and the wanted one comes back.
    unwanted = faiss if faiss != [f"faiss-{extra}"] else []
    if extra == "gpu" and installed.get("torch", "").endswith("+cpu"):
        unwanted = [*unwanted, "torch"]
    return unwanted


def choose_torch(extra: str, torch_index: str | None, *, is_new_index: bool) -> None:
    """Take torch from the index that the user named, or say so when pip's own choice does not fit this machine."""
    if torch_index is not None:
        again = ["--force-reinstall"] if is_new_index else []
        pip("install", "--no-deps", *again, "--index-url", torch_index, "-c", "constraints.txt", "torch")
        return
    offer = offered_torch()
    if offer is None:
        return
    notice = torch_notice(extra, offer["version"], offer.get("requires_dist", []), sys.platform)
    if notice:
        print(notice, flush=True)


def offered_torch() -> dict[str, Any] | None:
    """Ask pip which torch it would install: the wheel's metadata, or None when a fitting torch is installed."""
    # fast-deps reads the metadata out of the remote wheel where an index has no metadata files: no download.
    fast = ["--dry-run", "--no-deps", "--use-feature=fast-deps"]
    report = ask_pip("install", "-qq", *fast, "--report", "-", "-c", "constraints.txt", "torch")
    packages = json.loads(report)["install"]
    return dict(packages[0]["metadata"]) if packages else None


def torch_notice(extra: str, version: str, requirements: list[str], platform: str) -> str | None:
    """Say what a user should know before this torch is installed beside the extra, if anything."""
    is_cpu = is_cpu_build(version, requirements, platform)
    if extra == "cpu" and not is_cpu:
        return CUDA_NOTICE.format(version=version)
    if extra == "gpu" and is_cpu:
        return CPU_NOTICE.format(version=version)
    return None


def is_cpu_build(version: str, requirements: list[str], platform: str) -> bool:
    """Tell from a torch wheel's metadata whether it is a CPU build on a platform (a value of `sys.platform`)."""
    return version.endswith("+cpu") or not any(asks_for_cuda(line, platform) for line in requirements)


def asks_for_cuda(requirement: str, platform: str) -> bool:
    name, _, marker = requirement.partition(";")
    if not CUDA.match(name.strip().lower()) or "extra ==" in marker:
        return False
    return "Linux" not in marker or platform == "linux"


# ------------------------------------------------------------------------------------------------------------------ pip


def pip(*arguments: str) -> None:
    """Run .venv's pip and let it talk."""
    run_pip(arguments, stdout=None)


def ask_pip(*arguments: str) -> str:
    """Run .venv's pip and return what it says."""
    return run_pip(arguments, stdout=subprocess.PIPE)


def run_pip(arguments: tuple[str, ...], *, stdout: int | None) -> str:
    command = [str(PYTHON), "-m", "pip", *arguments]
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=stdout, text=True, check=False)
    if done.returncode:
        raise Stop(f"`pip {arguments[0]}` failed; its reason stands above")
    return done.stdout or ""


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


if __name__ == "__main__":
    sys.exit(main())
