"""A small archive in the true format: real places, climate, orbits and dates; simulated pixels.

It is there so that the whole way from an archive to a trained model can be walked without a network, through the
same doors as with a real archive. What is physics and what is invented is said in the modules: terrain, landcover,
seasons, optics, atmosphere, radar and orbits, each with its sources.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from curate.archives.simulated import stac
from curate.archives.simulated.places import Site, choose_sites
from curate.archives.simulated.site import Task, build, members
from curate.catalog.errors import InputError, RunError
from curate.catalog.files import sweep, write_text

__all__ = ["simulate"]

VERSION = 1  # raise it when the same parameters give other pixels
PARAMETERS = "parameters.json"
SCENE_PX = 648


def simulate(
    area: BaseGeometry,
    folder: Path,
    *,
    sites: int = 22,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    size_px: int = SCENE_PX,
) -> Path:
    """Write a simulated archive of places in *area* and return its ``catalog.json``.

    The same area, sites, seed and size give the same files, whatever *workers*. A rerun makes what is missing
    or was made with other parameters, and nothing else.

    Args:
        area: polygon or multipolygon in longitude/latitude, degrees.
        folder: of the archive; it is the archive's own.
        sites: how many places; fewer where *area* is too small to hold them 15 km apart.
        workers: processes; 1 works in this one.
        progress: called with (sites done, sites in all).
        size_px: side of a Sentinel-2 scene in pixels of 10 m, a multiple of 6; smaller is for tests.

    Raises:
        InputError: no land in *area*, or a size that is no multiple of 6 or under 60.
        RunError: a worker was killed.
    """
    if size_px % 6 or size_px < 60 or sites < 1:
        raise InputError(
            f"The simulated archive cannot have {sites} sites of {size_px} pixels",
            "it takes one site or more, of a multiple of 6 pixels from 60 on",
        )
    folder = Path(folder)
    parameters = {
        "area": hashlib.blake2b(shapely.to_wkb(shapely.normalize(area)), digest_size=8).hexdigest(),
        "sites": sites,
        "seed": seed,
        "size_px": size_px,
        "version": VERSION,
    }
    tasks = _read_plan(folder, parameters)
    if tasks is None:
        (folder / "catalog.json").unlink(missing_ok=True)
        tasks = [Task(site, seed, size_px, VERSION) for site in choose_sites(area, sites, seed)]
        plan = {"parameters": parameters, "sites": [task.to_json()["site"] for task in tasks]}
        write_text(folder / PARAMETERS, json.dumps(plan, indent=1, ensure_ascii=False))
    homes = {folder / "sites" / task.site.slug: task for task in tasks}
    found = {home: members(task, home) for home, task in homes.items()}
    missing = {home: homes[home] for home, items in found.items() if items is None}
    catalog = folder / "catalog.json"
    if missing or not catalog.exists():
        catalog.unlink(missing_ok=True)
        _tidy(folder, set(homes))
        for done, home in enumerate(_build_all(missing, workers), len(homes) - len(missing) + 1):
            found[home] = members(homes[home], home)
            if progress:
                progress(done, len(homes))
        _write_catalog(folder, [item for items in found.values() for item in items or []], parameters)
    return catalog


def _build_all(missing: dict[Path, Task], workers: int) -> Iterator[Path]:
    """Build sites, yielding each one's folder as it is done; a worker is a fresh process."""
    if workers <= 1 or len(missing) < 2:
        for home, task in missing.items():
            build(task, home)
            yield home
        return
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(build, task, home): home for home, task in missing.items()}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise RunError(
                "A worker that simulates sites was killed; run again, what is done is kept"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _read_plan(folder: Path, parameters: dict[str, Any]) -> list[Task] | None:
    """The tasks of an earlier run with the same parameters; None where there was none."""
    try:
        plan = json.loads((folder / PARAMETERS).read_text(encoding="utf-8"))
        if plan["parameters"] != parameters:
            return None
        return [
            Task(Site(**site), parameters["seed"], parameters["size_px"], VERSION) for site in plan["sites"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tidy(folder: Path, homes: set[Path]) -> None:
    """Remove sites that are not of this archive, and what killed runs left behind."""
    sweep(folder)
    for path in sorted((folder / "sites").glob("*")):
        if path not in homes:
            shutil.rmtree(path)


def _write_catalog(folder: Path, items: list[dict[str, Any]], parameters: dict[str, Any]) -> None:
    names = []
    for name in stac.COLLECTIONS:
        inside = [item for item in items if item["collection"] == name]
        path = folder / name / "collection.json"
        if inside:
            names.append(name)
            write_text(path, json.dumps(stac.collection(name, inside), indent=1))
        else:
            shutil.rmtree(path.parent, ignore_errors=True)
    write_text(folder / "catalog.json", json.dumps(stac.catalog(names, parameters), indent=1))
