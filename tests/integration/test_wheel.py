"""The wheel: it builds, and its command works in a folder whose packages have the same names."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.service_support import LIMIT_S, Running
from worker.backends.echo import answer

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
PACKAGES = ("api", "mlxq", "wire", "worker")
FOREIGN = "a package of the current folder was imported"


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel, and the project in which its command is used."""

    mlxq: str
    packages: Path
    project: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("MLXQ_")}
        return subprocess.run(
            [self.mlxq, *arguments],
            cwd=self.project,
            env={**clean, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


def build(folder: Path) -> Path:
    """The wheel of a copy: setuptools writes beside what it builds."""
    tree = folder / "tree"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder))
    subprocess.run([*PIP, "wheel", *options, str(tree)], check=True, timeout=LIMIT_S)
    [wheel] = folder.glob("*.whl")
    return wheel


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "environment"
    venv.create(environment, symlinks=True, with_pip=False)
    [packages] = environment.glob("lib/python*/site-packages")
    # The wheel's dependencies come from the environment of the tests.
    dependencies = [entry for entry in sys.path if entry.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    python = environment / "bin" / "python"
    into = [*PIP, "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*into, str(build(folder))], check=True, timeout=LIMIT_S)
    project = folder / "project"
    for name in ("api", "worker", "wire"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(f"raise SystemExit({FOREIGN!r})\n")
    return Installation(str(environment / "bin" / "mlxq"), packages, project)


def test_the_wheel_holds_the_licence_the_pages_and_the_demo_models(
    installation: Installation,
) -> None:
    assert list(installation.packages.glob("mlx_chat_queue-*/licenses/LICENSE"))
    for name in ("api/static", "worker/demo_models"):
        assert files(installation.packages / name) == files(ROOT / name)
    assert not (installation.packages / "tests").exists()


def test_help_and_doctor_use_their_own_packages(installation: Installation) -> None:
    shown = installation.run("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "doctor" in shown.stdout
    shown = installation.run("doctor", "--json")
    assert shown.stderr == ""
    states = {finding["check"]: finding["state"] for finding in json.loads(shown.stdout)}
    assert states["MLX"] == states["packages"] == states["Redis"] == "ok"


def test_the_service_and_its_children_use_their_own_packages(
    installation: Installation, tmp_path: Path
) -> None:
    service = Running(
        [installation.mlxq, "serve"],
        tmp_path,
        cwd=installation.project,
        MLXQ_BACKEND="echo",
        PYTHONPATH=".",
    )
    try:
        url = service.line("Ready: ").removeprefix("Ready: ")
        reply = installation.run("chat", "hello", "--seed", "1", "--max-tokens", "6", "--url", url)
        assert (reply.returncode, reply.stderr) == (0, "")
        assert reply.stdout == answer("hello", 1, 6) + "\n"
        children = [p for p in service.descendants() if "python" in p.name()]
        assert {"api", "worker"} <= {child.cmdline()[-1] for child in children}
        for child in children:
            assert child.cmdline()[1] == "-P"
            assert child.environ()["PYTHONPATH"].split(os.pathsep) == [str(installation.packages)]
        service.signal(signal.SIGINT)
        assert service.status() == 0
    finally:
        service.close()
    assert FOREIGN not in "".join(service.seen)
    assert service.left_over() == []
