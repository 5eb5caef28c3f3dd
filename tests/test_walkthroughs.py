"""README and tutorial as a new user follows them: all their commands in order, in a fresh environment of their own.

One shell runs a page's blocks, its Python blocks by that shell's python; lines that a page shows below a block must
be beginnings of lines that it prints, in their order. ``<!-- not run: REASON -->`` above a block exempts it, and the
reasons are printed.
README runs in a copy of the repository, where `make` installs; the tutorial in an empty folder, with the wheel.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python3"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<kind>sh|python)\n(?P<code>.*?)^```"
    r"(?:\n\n```text\n(?P<printed>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
END = "--- end of block {} ---"


class Block(NamedTuple):
    """A page's code, as shell, why it is not run, and what it is to print."""

    code: str
    why: str
    printed: list[str]


def blocks(page: Path) -> list[Block]:
    found = []
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        code = block["code"]
        if block["kind"] == "python":
            code = f"python - <<'PYTHON'\n{code}PYTHON\n"
        found.append(Block(code, block["why"] or "", (block["printed"] or "").splitlines()))
    return found


def shape(line: str) -> str:
    """A line with times, sizes and other decimals as #, which differ between machines; whole numbers stay."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,]*\.\d+(e-\d+)?", "#", line)).strip()


def fresh(**more: str) -> dict[str, str]:
    """The environment of somebody who has none of this: neither this interpreter's packages nor the repository."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS", "CURATE_REAL_DATA")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    path = [p for p in kept["PATH"].split(os.pathsep) if not Path(p).is_relative_to(sys.prefix)]
    return kept | {"PATH": os.pathsep.join(path), "COLUMNS": "140", "NO_COLOR": "1"} | more


def follow(page: Path, folder: Path, **environment: str) -> None:
    """Run a page's blocks in *folder*; each must end well and print what the page says."""
    steps = blocks(page)
    for step in (step for step in steps if step.why):
        print(f"not run, {step.why}:\n{step.code}")
    lines = [f"{'' if step.why else step.code}\necho '{END.format(i)}'" for i, step in enumerate(steps)]
    log = folder / "log.txt"
    with log.open("w") as out:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=folder,
            env=fresh(**environment),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    said = log.read_text(encoding="utf-8")
    print(said)
    assert done.returncode == 0, "\n".join(said.splitlines()[-20:])
    for i, step in enumerate(steps):
        of_block, _, said = said.partition(END.format(i))
        printed = iter([shape(line) for line in of_block.splitlines()])
        for line in step.printed if not step.why else ():
            if not any(one.startswith(shape(line)) for one in printed):
                pytest.fail(
                    f"not printed: {line}\nby: {step.code}\nwhich printed:\n{of_block}", pytrace=False
                )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a clone would have it: what git tracks, and what it would."""
    folder = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder / ".venv", ignore_errors=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")

    def run(*command: str | Path) -> None:
        subprocess.run([str(part) for part in command], cwd=folder, env=fresh(), check=True)

    run(BASE_PYTHON, "-m", "venv", folder / "env")
    pip = [folder / "env" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", "torch")
    run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", wheel)
    yield folder / "env"
    shutil.rmtree(folder / "env")


@pytest.fixture(scope="module")
def taught(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which the tutorial was followed, with the commands of the wheel."""
    folder = tmp_path_factory.mktemp("tutorial")
    follow(ROOT / "docs" / "tutorial.md", folder, PATH=f"{installed / 'bin'}{os.pathsep}{fresh()['PATH']}")
    return folder


@pytest.mark.slow
def test_the_readme_can_be_followed_in_a_fresh_clone(clone):
    follow(ROOT / "README.md", clone, PYTHON=str(BASE_PYTHON))


@pytest.mark.slow
def test_the_tutorial_can_be_followed_with_nothing_but_the_wheel(taught):
    assert (taught / "catalogs" / "eu.html").exists()
    assert (taught / "runs" / "first" / "report.html").exists()


NOTEBOOK = """
import geopandas, pyarrow, curate, train
assert all("site-packages" in module.__file__ for module in (curate, train)), curate.__file__
chips = curate.sample(50, cut=False, workers=1)
assert isinstance(chips, geopandas.GeoDataFrame) and len(chips) == 50 and chips.crs == "OGC:CRS84"
assert isinstance(curate.pair(workers=1), pyarrow.Table)
assert curate.measure()["splits"]["all"]["rows"] == 50
assert curate.report().exists() and not curate.validate("catalogs/eu.parquet")
"""


@pytest.mark.slow
def test_the_wheel_works_from_python(installed, taught):
    subprocess.run([installed / "bin" / "python", "-c", NOTEBOOK], cwd=taught, env=fresh(), check=True)
