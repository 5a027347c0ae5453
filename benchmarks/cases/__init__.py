"""One module a case: `measure`, `METRICS`, `FLOORS`."""
