"""Run stages as tasks on a Ray cluster."""
