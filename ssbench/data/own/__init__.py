"""Images of one's own: folders, arrays, functions and saved data sets, and the table ``[data]``."""
