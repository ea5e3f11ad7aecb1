"""Tables, figures and pages from records and their analysis. Imports no torch.

`render` writes the report of a folder.
"""
