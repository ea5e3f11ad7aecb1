"""From conclusions to tables, figures and pages. Reads records only and imports no torch.

Ask `render` for a report of a folder.
"""
