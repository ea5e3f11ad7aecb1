"""Performance benchmarks, each against a peer: ``uv run python -m bench.perf.NAME``."""
