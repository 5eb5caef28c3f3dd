"""What `train` may import: of `curate` nothing but the catalog, and no geospatial stack."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCKED = """
import importlib, pkgutil, sys

class Blocker:
    names = {"rasterio", "geopandas", "dask", "distributed", "shapely", "pyproj", "xarray", "pystac", "sklearn"}

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        outside = top == "curate" and name != "curate" and name.split(".")[1] != "catalog"
        if top in self.names or outside:
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Blocker())
import train
names = [module.name for module in pkgutil.walk_packages(train.__path__, "train.")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_everything_imports_without_the_geospatial_stack():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_command_line_imports_no_torch():
    code = "import sys, train.cli; print(any(m in sys.modules for m in ('torch', 'numpy', 'pyarrow')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_files_are_short_enough_to_read():
    whole = "export_modeling.py"  # lies beside exported weights as it is, so it must be one file
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "train").rglob("*.py")}
    sizes = {path: lines for path, lines in sizes.items() if path.name != whole}
    assert max(sizes.values()) <= 300, max(sizes, key=lambda path: sizes[path])
