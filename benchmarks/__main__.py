"""`python -m benchmarks randhie --seeds 0 1 2` measures, writes `benchmarks/results/` and prints the table."""

from benchmarks.harness import main

if __name__ == "__main__":
    main()
