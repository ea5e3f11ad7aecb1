"""What a report is written as: Markdown and HTML by templates, LaTeX, CSV, terminal text."""
