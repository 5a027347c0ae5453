"""How large and how long: the networks and the descents of a fit, from the size of its table."""

from typing import NamedTuple

import numpy as np

from ptilde.fit import Descent

STEP_SIZE, SHARP_STEP_SIZE = 2e-3, 5e-3
WEIGHT_DECAY, STATES_WEIGHT_DECAY = 0.1, 1.0  # the latter where rows are too few for the law of the states
# Steps. Where a map can only follow single rows, the best one lies early: a slow start lets it be found.
MAP_WARM_UP = 1000
# Rows from which on a map that sees covariates may learn as fast as one that does not, and from all of them at once.
SURE_ROWS = 50_000
# Of the seconds that are left, what each descent may take; the last takes the rest.
STATES_SHARE, SCORES_SHARE, SMOOTH_SHARE, SHARP_SHARE = 0.25, 0.15, 0.15, 0.7


class Plan(NamedTuple):
    """Sizes of the networks, and the descents: of states, scores, the map smooth and then sharp, scores behind it."""

    width: int
    depth: int
    map_width: int
    states: Descent
    scores: Descent
    smooth: Descent
    sharp: Descent
    behind: Descent

    @classmethod
    def of(cls, num_rows: int, num_columns: int, max_iter: int | str, covariates: bool = False) -> "Plan":
        """The plan for rows × columns, with the steps that are asked for or, if "auto", that the rows are worth."""
        width = 64 if num_columns <= 6 else 96 if num_columns <= 16 else 128

        def steps(a_row: float, most: int) -> int:
            return int(np.clip(a_row * num_rows, 500, most) // 100 * 100 if max_iter == "auto" else max_iter)

        smooth = Descent(512, steps(10, 1000), STEP_SIZE, WEIGHT_DECAY, MAP_WARM_UP, patience=0.5)
        if covariates:  # that tell rows apart: few rows are soon followed one by one
            step_size = STEP_SIZE * float(np.clip(num_rows / SURE_ROWS, 0.1, 1))
            num_steps = steps(max(0.25, 1500 / max(num_rows, 1)), 4000)
            smooth = Descent(512, num_steps, step_size, 1.0, MAP_WARM_UP, patience=0.3)
        return cls(
            width,
            2,
            64 if num_columns <= 32 else 32,
            states=Descent(512, steps(10, 4000), STEP_SIZE, WEIGHT_DECAY),
            # Normalisation settles as the step size falls to zero: scores are learnt to the end.
            scores=Descent(512, steps(0.2, 4000), STEP_SIZE, WEIGHT_DECAY, patience=1.0),
            smooth=smooth,
            sharp=Descent(512, steps(10, 4000), SHARP_STEP_SIZE, WEIGHT_DECAY, MAP_WARM_UP, patience=0.15),
            behind=Descent(512, steps(0.1, 2000), STEP_SIZE, WEIGHT_DECAY, patience=1.0),
        )
