"""It holds: kills, faults, hostile files, tables larger than memory, several processes.

    python -m benchmarks.reliability              all cases in full, some hours; writes benchmarks/results/reliability.*
    python -m benchmarks.reliability --bounded    a few of each, some minutes; what CI runs; writes nothing

A case is a function (bounded) -> Found. A failure is whatever should not be: other bytes, a traceback, a file that is
half there, memory beyond the limit. The exit code is 1 if there was any.
"""
