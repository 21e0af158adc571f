"""What is pinned, what is installed, and how `make install` decides: checked without a network."""

import importlib.util
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


install = load("install")
lock_check = load("lock_check")


def direct_dependencies() -> list[Requirement]:
    lines = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    return [Requirement(line) for line in (*lines, *(line for extra in EXTRAS.values() for line in extra))]


def pin_of(name: str) -> Version:
    return Version(lock_check.read_pins("\n".join(PINS))[canonicalize_name(name)])


# ---------------------------------------------------------------------------------------- constraints.txt and pyproject


@pytest.mark.parametrize("line", PINS)
def test_a_pin_is_a_name_and_a_version_without_address_hash_or_local_version(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==\d+(\.\d+)*", line)


def test_the_pins_are_sorted_and_name_each_package_once() -> None:
    names = [line.partition("==")[0] for line in PINS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=str)
def test_every_direct_dependency_has_a_pin_that_fits_it(requirement: Requirement) -> None:
    assert pin_of(requirement.name) in requirement.specifier


def test_the_project_asks_for_python_3_11_and_the_installer_says_the_same() -> None:
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    assert "3.11" in supported
    assert "3.10" not in supported
    assert install.OLDEST == (3, 11)


def test_faiss_comes_with_an_extra_and_never_twice_with_one() -> None:
    owners = {
        extra: [line for line in lines if line.startswith("faiss")]
        for extra, lines in {"none": PROJECT["project"]["dependencies"], **EXTRAS}.items()
    }
    assert {extra: names for extra, names in owners.items() if names} == {"cpu": ["faiss-cpu"], "gpu": ["faiss-gpu"]}


@pytest.mark.parametrize("requirement", direct_dependencies(), ids=str)
def test_the_notices_name_every_direct_dependency(requirement: Requirement) -> None:
    assert f"\n| {requirement.name} | " in (ROOT / "NOTICE.md").read_text(encoding="utf-8")


# -------------------------------------------------------------------------------------------------------- make install

CPU = ["filelock", "sympy>=1.13.3", 'pyyaml; extra == "pyyaml"']
CUDA = [*CPU, 'nvidia-nccl-cu13==2.29.7; platform_system == "Linux"', 'triton==3.7.1; platform_system == "Linux"']


@pytest.mark.parametrize(
    ("version", "requirements", "platform", "is_cpu"),
    [
        ("2.13.0+cpu", CPU, "linux", True),
        ("2.13.0", CPU, "linux", True),
        ("2.13.0", CUDA, "linux", False),
        ("2.13.0", CUDA, "darwin", True),
        ("2.13.0+cu130", CUDA, "linux", False),
        ("2.13.0", ["nvidia-cublas-cu12"], "linux", False),
        ("2.13.0", ['nvidia-nccl; extra == "nccl"'], "linux", True),
    ],
)
def test_a_cpu_build_of_torch_is_known_by_its_version_or_by_asking_for_no_cuda(
    version: str, requirements: list[str], platform: str, is_cpu: bool
) -> None:
    assert install.is_cpu_build(version, requirements, platform) is is_cpu


def test_a_cuda_build_on_a_machine_without_gpu_is_announced_with_its_size_and_the_way_out() -> None:
    notice = install.torch_notice("cpu", "2.13.0", CUDA, "linux")
    assert "about 3 GB" in notice
    assert "TORCH_INDEX=" in notice


def test_a_cpu_build_on_a_machine_with_gpu_is_announced() -> None:
    assert "CPU build" in install.torch_notice("gpu", "2.13.0+cpu", CPU, "linux")


def test_a_build_that_fits_the_machine_is_not_announced() -> None:
    assert install.torch_notice("cpu", "2.13.0+cpu", CPU, "linux") is None
    assert install.torch_notice("gpu", "2.13.0", CUDA, "linux") is None


@pytest.mark.parametrize(
    ("installed", "extra", "unwanted"),
    [
        ({}, "cpu", []),
        ({"faiss-cpu": "1", "torch": "2.13.0+cpu"}, "cpu", []),
        ({"faiss-gpu": "1", "torch": "2.13.0"}, "cpu", ["faiss-gpu"]),
        ({"faiss-cpu": "1", "torch": "2.13.0+cpu"}, "gpu", ["faiss-cpu", "torch"]),
        ({"faiss-cpu": "1", "faiss-gpu": "1"}, "cpu", ["faiss-cpu", "faiss-gpu"]),
        ({"faiss-gpu-cuvs": "1"}, "gpu", ["faiss-gpu-cuvs"]),
    ],
)
def test_another_build_of_faiss_or_a_cpu_torch_goes_before_the_wanted_one_comes(
    installed: dict[str, str], extra: str, unwanted: list[str]
) -> None:
    assert install.builds_to_remove(installed, extra) == unwanted


@pytest.mark.parametrize(
    "output",
    [
        "The virtual environment was not created successfully because ensurepip is not\navailable.  On Debian ...",
        "/usr/bin/python3: No module named venv",
    ],
)
def test_a_missing_venv_module_gives_one_line_that_says_what_to_install(output: str) -> None:
    line = install.why_no_venv(output)
    assert "apt install python3-venv" in line
    assert "\n" not in line


def test_another_failure_of_venv_is_told_by_its_last_line() -> None:
    assert install.why_no_venv("Error: one\nNo space left on device\n").endswith("No space left on device")


def test_an_old_python_is_refused_by_one_line_and_a_new_one_is_not() -> None:
    with pytest.raises(install.Stop, match=r"Python 3\.11 or newer is needed, this is 3\.9;"):
        install.check_python((3, 9))
    install.check_python((3, 11))


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "with space" / ".venv"
    folder.mkdir(parents=True)
    places = {"ROOT": folder.parent, "VENV": folder, "PYTHON": Path(sys.executable)}
    for name, path in {**places, "STAMP": folder / ".installed", "UNDERWAY": folder / ".installing"}.items():
        monkeypatch.setattr(install, name, path)
    return folder


def test_a_venv_with_a_python_and_pip_is_whole(venv: Path) -> None:
    assert install.is_whole()


def test_a_venv_without_a_python_is_not_whole(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "PYTHON", venv / "bin" / "python")
    assert not install.is_whole()


def test_a_venv_whose_install_was_cut_short_is_not_whole(venv: Path) -> None:
    (venv / ".installing").touch()
    assert not install.is_whole()


def test_a_venv_made_for_another_folder_is_not_whole(venv: Path) -> None:
    (venv / ".installed").write_text('{"root": "/somewhere/else"}', encoding="utf-8")
    assert not install.is_whole()


def killed() -> None:
    raise KeyboardInterrupt


def refused() -> None:
    raise install.Stop("pip failed")


@pytest.mark.parametrize(("end", "is_marked"), [(killed, True), (refused, False), (lambda: None, False)])
def test_only_an_install_that_was_cut_short_leaves_its_mark(
    venv: Path, end: Callable[[], None], is_marked: bool
) -> None:
    try:
        with install.underway():
            end()
    except (KeyboardInterrupt, install.Stop):
        pass
    assert (venv / ".installing").exists() is is_marked


# ------------------------------------------------------------------------------------------------------ make lock-check

FOUND = {
    "torch": {"requires_dist": ["sympy", 'cuda-toolkit[cublas]==13; platform_system == "Linux"']},
    "sympy": {"requires_dist": ['later; python_version >= "3.13"']},
    "cuda-toolkit": {"requires_dist": ['nvidia-cublas; extra == "cublas"', 'nvidia-nvtx; extra == "nvtx"']},
    "nvidia-cublas": {},
    "faiss-gpu": {"requires_dist": ["packaging", "nvidia-curand"]},
    "nvidia-curand": {},
    "uvloop": {},
}
ASKED = [Requirement(line) for line in ("torch", "faiss-gpu", 'uvloop; platform_system != "Windows"')]


def test_what_torch_asks_for_everywhere_needs_a_pin_and_its_cuda_libraries_do_not() -> None:
    assert lock_check.wanting_pins(ASKED, FOUND, "3.11") == {"torch", "faiss-gpu", "uvloop", "sympy"}


def test_a_package_that_only_another_python_asks_for_is_noticed() -> None:
    def absent(python: str) -> set[str]:
        reached = lock_check.needs(ASKED, FOUND, {**lock_check.markers(python), "platform_system": "Linux"})
        return {need.name for need in lock_check.absent(reached, FOUND)}

    assert absent("3.13") - absent("3.11") == {"later"}


def test_the_words_of_pip_are_cut_to_what_does_not_fit() -> None:
    said = """Collecting a
    a 1 depends on b>=2
    The user requested (constraint) b==1
ERROR: Cannot install a
ERROR: ResolutionImpossible: for help visit a page"""
    assert lock_check.why(said) == "a 1 depends on b>=2; The user requested (constraint) b==1; Cannot install a"
