"""Stages in processes of this machine: a pool of workers, and groups for joint training."""
