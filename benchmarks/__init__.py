"""Ours against peers, each case by one command: `python -m benchmarks CASE [--seeds 0 1 2] [--budget SECONDS]`."""
