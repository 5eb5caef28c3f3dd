"""The page that shows a catalog to a person: `write_report` for one, `write_comparison` for two side by side."""

import sys

from curate import Command
from curate.report.comparison import write_comparison
from curate.report.page import write_report

__all__ = ["write_comparison", "write_report"]

sys.modules[__name__].__class__ = Command
