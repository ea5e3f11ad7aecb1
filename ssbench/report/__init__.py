"""Records to tables, figures and pages; reads records only, imports no torch."""

from ssbench.report.render import render
from ssbench.report.terminal import terminal_table

__all__ = ["render", "terminal_table"]
