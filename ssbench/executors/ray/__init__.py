"""Stages as tasks on a Ray cluster."""
