"""Records -> tables, figures and pages; reads records only and imports no torch.

>>> render(Path("results/quickstart"), Path("results/quickstart"), ["md", "tex", "html", "csv"])
[PosixPath('results/quickstart/error-digits-vgg6.png'), ...]
"""

from ssbench.report.frame import load_results
from ssbench.report.output import FORMATS, OPTIONAL
from ssbench.report.paper_render import render_table
from ssbench.report.published import Published
from ssbench.report.published_files import collect
from ssbench.report.records import load
from ssbench.report.render import render
from ssbench.report.terminal import terminal_table

__all__ = [
    "FORMATS",
    "OPTIONAL",
    "Published",
    "collect",
    "load",
    "load_results",
    "render",
    "render_table",
    "terminal_table",
]
