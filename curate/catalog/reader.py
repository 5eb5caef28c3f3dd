"""The strict reader of catalogs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.errors import InputError
from curate.catalog.geoparquet import read_metadata
from curate.catalog.schema import SCHEMA_VERSION, CatalogMeta, SensorInfo, catalog_schema
from curate.catalog.statistics import BandStatistics, read_statistics


@dataclass(frozen=True)
class Catalog:
    """A training catalog: one row a chip, in seat order, so that any prefix is the sample of that budget."""

    path: Path
    meta: CatalogMeta
    table: pa.Table

    @classmethod
    def open(cls, path: Path | str, columns: Sequence[str] | None = None) -> Catalog:
        """Read a catalog, all columns or some.

        Raises:
            InputError: no such file, no catalog, another schema version, or a column is missing or mistyped.
        """
        path = Path(path)
        meta = read_meta(path)
        expected = catalog_schema([s.prefix for s in meta.sensors], list(meta.landcover), meta.further)
        found = pq.read_schema(path)
        for name in columns if columns is not None else expected.names:
            if name not in found.names:
                raise InputError(
                    f"Catalog {path} has no column {name!r}",
                    "another program may have rewritten it",
                    f"See all that is wrong with: curate validate {path}",
                )
            if name in expected.names and not found.field(name).type.equals(expected.field(name).type):
                raise InputError(
                    f"Column {name!r} of catalog {path} is {found.field(name).type}",
                    f"it should be {expected.field(name).type}",
                    f"See all that is wrong with: curate validate {path}",
                )
        return cls(path, meta, pq.read_table(path, columns=list(columns) if columns is not None else None))

    @property
    def chips_folder(self) -> Path:
        return self.path.parent / self.meta.chips

    @property
    def sensors(self) -> dict[str, SensorInfo]:
        """Sensors by column prefix."""
        return {sensor.prefix: sensor for sensor in self.meta.sensors}

    def require_pixels(self) -> None:
        """Check that every row has its pixels.

        Raises:
            InputError: some chips have not been cut, or the catalog is empty.
        """
        if not self.table.num_rows:
            raise InputError(f"Catalog {self.path} is empty", do="Draw a larger sample: curate sample")
        missing = pc.sum(pc.is_null(self.table["shard"])).as_py()
        if missing:
            raise InputError(
                f"{missing:,} of {self.table.num_rows:,} chips of catalog {self.path} have no pixels",
                "they have not been cut",
                f"Cut them with: curate cut --region {self.meta.region}",
            )

    def statistics(self) -> dict[str, BandStatistics]:
        """Band statistics by sensor prefix, over the training split.

        Raises:
            InputError: the file beside the catalog is missing or broken.
        """
        path = self.path.parent / self.meta.statistics
        try:
            return read_statistics(path)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"Band statistics {path} cannot be read", str(error), "Write them again with: curate cut"
            ) from error


def read_meta(path: Path) -> CatalogMeta:
    """What a catalog says of itself, without reading its rows.

    Raises:
        InputError: no such file, not a catalog, or another schema version.
    """
    if not path.is_file():
        raise InputError(f"There is no catalog {path}", do="Make one with: make catalog REGION=europe")
    try:
        fields = read_metadata(path)
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise InputError(f"{path} is not a readable Parquet file", str(error)) from error
    if not isinstance(fields, dict) or "schema_version" not in fields:
        raise InputError(
            f"{path} is no catalog",
            "its metadata has no key 'curate' with a schema version",
            "Catalogs are written by: curate catalog",
        )
    version = fields["schema_version"]
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise InputError(
            f"Catalog {path} has schema version {version}",
            f"this program reads version {SCHEMA_VERSION}",
            "Update this program" if newer else "Make the catalog again with: curate catalog",
        )
    try:
        return CatalogMeta.from_json(fields)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"The metadata of catalog {path} is broken", repr(error)) from error
