"""RAND HIE: five spending columns, 25 % of the rows held out at random."""

from benchmarks import tables
from benchmarks.harness import OURS, Floor, Options
from ptilde.datasets import load_randhie, spending

METRICS = tables.METRICS
FLOORS = [
    Floor(
        "AUC at most 0.035 above that of real rows",
        lambda m: m[OURS]["AUC"] - m["real rows"]["AUC"],
        lambda value: value <= 0.035,
    ),
    Floor("each zero share within 0.015 of training", lambda m: m[OURS]["zeros off"], lambda value: value <= 0.015),
    Floor("0.15 nats above patterns + Gaussian", lambda m: m[OURS]["above patterns"], lambda value: value >= 0.15),
    Floor("one-pass against ODE: mean gap at most 0.06", lambda m: m[OURS]["gap"], lambda value: value <= 0.06),
    Floor("log Z within 0.06 of 0", lambda m: m[OURS]["log Z off"], lambda value: value <= 0.06),
    Floor("fitted in at most 90 s", lambda m: m[OURS]["fit s"], lambda value: value <= 90),
]


def measure(seed: int, options: Options, picture) -> dict:
    return tables.measure(tables.split(load_randhie(spending), spending, seed), seed, options, picture)
