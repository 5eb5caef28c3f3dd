"""The page of a run: what `train report` writes."""

from train.reporting.page import write_run

__all__ = ["write_run"]
