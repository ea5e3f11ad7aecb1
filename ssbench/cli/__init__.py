"""The command line, and the functions of Python that do the same. No other package imports it."""
