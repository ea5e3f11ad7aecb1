"""Records -> tables, figures and pages; reads records only and imports no torch.

>>> render(Path("results/quickstart"), Path("results/quickstart"), ["md", "tex", "html", "csv"])
[PosixPath('results/quickstart/error-digits-vgg6.png'), ...]
"""

from ssbench.report.frame import load_results
from ssbench.report.records import load
from ssbench.report.render import FORMATS, OPTIONAL, render
from ssbench.report.terminal import terminal_table

__all__ = ["FORMATS", "OPTIONAL", "load", "load_results", "render", "terminal_table"]
