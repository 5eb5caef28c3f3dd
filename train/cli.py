"""The command `train`. Nothing is decided here, and torch is imported only where it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from train.commands import dense, evaluating, exporting, pretraining, reporting, ringmoe
