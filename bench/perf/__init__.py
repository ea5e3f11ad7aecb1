"""Performance benchmarks, each beside its peer: ``uv run python -m bench.perf.NAME``."""
