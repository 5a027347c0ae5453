"""RAND HIE: five spending columns, 25 % of the rows held out at random."""

from benchmarks import tables
from benchmarks.harness import OURS, Floor, Options
from ptilde.datasets import load_randhie, spending

METRICS = tables.METRICS
FLOORS = [
    tables.auc_floor(0.015),
    Floor("each zero share within 0.010 of training", lambda m: m[OURS]["zeros off"], lambda value: value <= 0.010),
    Floor("pattern TV at most 1.3 times that of real rows", lambda m: m[OURS]["TV ratio"], lambda value: value <= 1.3),
    Floor("0.22 nats above patterns + Gaussian", lambda m: m[OURS]["above patterns"], lambda value: value >= 0.22),
    Floor("one-pass against ODE: mean gap at most 0.03", lambda m: m[OURS]["gap"], lambda value: value <= 0.03),
    Floor("99.9 % of rows within 1 nat", lambda m: m[OURS]["within 1 nat"], lambda value: value >= 0.999),
    Floor("log Z within 0.03 of 0", lambda m: m[OURS]["log Z off"], lambda value: value <= 0.03),
    Floor("q99 ratio of the row sum 0.8 to 1.25", lambda m: m[OURS]["q99 ratio"], lambda value: 0.8 <= value <= 1.25),
    Floor("fitted in at most 90 s", lambda m: m[OURS]["fit s"], lambda value: value <= 90),
]
notes = tables.notes


def measure(seed: int, options: Options, picture) -> dict:
    return tables.measure(tables.split(load_randhie(spending), spending, seed), seed, options, picture)
