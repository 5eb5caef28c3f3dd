"""Where a region's tables lie, and whether a table on disk was made from the same input."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.catalog.errors import InputError
from curate.catalog.files import digest, sweep
from curate.catalog.geoparquet import read_metadata
from curate.grid import Floats
from curate.recipe import Recipe, load, stable_hash


@dataclass(frozen=True)
class Workspace:
    """The files of one region under one folder: ``catalogs/eu.parquet`` and ``catalogs/eu/``."""

    root: Path
    slug: str

    @property
    def catalog(self) -> Path:
        return self.root / f"{self.slug}.parquet"

    @property
    def folder(self) -> Path:
        return self.root / self.slug

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def scenes(self) -> Path:
        return self.folder / "scenes.parquet"

    @property
    def pairs(self) -> Path:
        return self.folder / "pairs.parquet"

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    @property
    def statistics(self) -> Path:
        return self.folder / "statistics.json"

    def chips(self, key: str) -> Path:
        return self.folder / "chips" / key

    def load_recipe(self) -> Recipe:
        """The recipe that the region's tables were made with."""
        if not self.recipe.exists():
            raise InputError(
                f"There is no pool for region {self.slug!r} under {self.root}",
                f"{self.recipe} does not exist",
                "Make one with: make catalog REGION=... or curate catalog --region ...",
            )
        return load(self.recipe)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of this region, and clear away what killed ones left; a kill frees the lock.

        Raises:
            InputError: another run is at work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"Another run is at work in {self.folder}", do="Wait for it, or give another --root"
                ) from error
            sweep(self.folder)
            for part in self.root.glob(f".{self.catalog.name}.*.part"):
                part.unlink()
            yield

    def require(self, path: Path, stage: str) -> None:
        """Check that an earlier stage's table is there.

        Raises:
            InputError: it is not.
        """
        if not path.exists():
            raise InputError(
                f"{path} does not exist", f"the stage {stage!r} has not been run", f"Run: curate {stage}"
            )

    def relative(self, href: str) -> str:
        """*href* relative to the root where it lies under it, so that a catalog can move with its folder."""
        root = self.root.resolve().as_posix() + "/"
        return href.removeprefix(root)

    def absolute(self, href: str) -> str:
        """The inverse of `relative`."""
        if "://" in href or href.startswith("/"):
            return href
        return str(self.root.resolve() / href)


def find(root: Path, slug: str | None) -> Workspace:
    """The workspace of region *slug*, or the only one under *root*.

    Raises:
        InputError: there is none, or there are several to choose from.
    """
    root = root.resolve()
    if slug is not None:
        return Workspace(root, slug)
    slugs = sorted(path.parent.name for path in root.glob("*/recipe.yaml"))
    if len(slugs) == 1:
        return Workspace(root, slugs[0])
    if not slugs:
        raise InputError(f"There is no pool under {root}", do="Make one with: make catalog REGION=europe")
    raise InputError(
        f"There are {len(slugs)} pools under {root}", ", ".join(slugs), f"Choose one: --region {slugs[0]}"
    )


def identity(name: str | None) -> list[Any] | None:
    """What tells one content of a file the user named from another; None where the name is no file.

    A small file is known by its digest, a large one by size and time; a folder by its files.
    """
    path = Path(name) if name else None
    if path is None or not path.exists():
        return None
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        digest(file) if file.stat().st_size < 2**20 else [file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.is_file()
    ]


def key_of(inputs: Sequence[Path], settings: Any) -> str:
    """Names the content of a stage's table: equal inputs and settings, equal keys."""
    return stable_hash([[path.name, digest(path)] for path in inputs] + [settings])


def is_fresh(path: Path, key: str) -> bool:
    """Whether the table *path* is whole and was made under *key*."""
    if not path.exists():
        return False
    try:
        metadata = read_metadata(path)
    except (OSError, pa.ArrowInvalid, ValueError):
        return False
    return metadata is not None and metadata.get("key") == key


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a stage's table.

    Raises:
        InputError: it is broken; names the file.
    """
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> InputError:
    why = " ".join(str(error).split())
    return InputError(f"{path} cannot be read", why, "Delete it and run its stage again")


def read_near(path: Path, bounds: Floats, columns: list[str]) -> pa.Table:
    """The rows of a stage's table whose ``bbox`` meets *bounds* (west, south, east, north in degrees).

    Groups of rows that lie elsewhere are not read.

    Raises:
        InputError: the table is broken; names the file.
    """
    try:
        with pq.ParquetFile(path) as file:
            near = [i for i in range(file.num_row_groups) if _meets(file.metadata.row_group(i), bounds)]
            table = file.read_row_groups(near, columns=[*columns, "bbox"])
    except (OSError, pa.ArrowInvalid) as error:
        raise _broken(path, error) from error
    box = table["bbox"].combine_chunks()
    west, south, east, north = (box.field(side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax"))
    meets = (east >= bounds[0]) & (west <= bounds[2]) & (north >= bounds[1]) & (south <= bounds[3])
    return table.select(columns).filter(pa.array(meets))


def _meets(group: pq.RowGroupMetaData, bounds: Floats) -> bool:
    """Whether a group of rows may have one that meets *bounds*; yes where it has no statistics."""
    wanted = ("bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax")
    found = {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}
    sides = [side for side in map(found.get, wanted) if side is not None and side.has_min_max]
    if len(sides) < len(wanted):
        return True
    west, south, east, north = sides
    return bool(
        east.max >= bounds[0] and west.min <= bounds[2] and north.max >= bounds[1] and south.min <= bounds[3]
    )
