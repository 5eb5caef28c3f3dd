"""The command `train`. Nothing is decided here, and torch is imported only where it is used."""

from __future__ import annotations
