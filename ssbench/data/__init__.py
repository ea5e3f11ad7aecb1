"""Data sets by name, read and verified; their splits and loaders. Ask `registry` for one."""
