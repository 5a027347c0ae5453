"""Refusals speak one grammar."""

import math

import numpy as np
import pytest

from ptilde import _validate

REFUSALS = [
    (_validate.at_least, (1,), 0, "`n` must be at least 1; got 0."),
    (_validate.at_least, (1,), math.nan, "`n` must be at least 1; got nan."),
    (_validate.at_least, (1,), "2", "`n` must be at least 1; got '2'."),
    (_validate.at_least, (0,), True, "`n` must be at least 0; got True."),
    (_validate.whole, (1,), 0, "`n` must be at least 1; got 0."),
    (_validate.whole, (1,), 2.5, "`n` must be a whole number; got 2.5."),
    (_validate.whole, (1,), 2.0, "`n` must be a whole number; got 2.0."),
    (_validate.whole, (0,), True, "`n` must be a whole number; got True."),
    (_validate.whole, (1,), "2", "`n` must be a whole number; got '2'."),
    (_validate.positive, (), 0.0, "`n` must be positive and finite; got 0.0."),
    (_validate.positive, (), math.inf, "`n` must be positive and finite; got inf."),
    (_validate.finite, (), None, "`n` must be a finite number; got None."),
    (_validate.one_of, (("a", 1),), "b", "`n` must be one of 'a', 1; got 'b'."),
    (_validate.one_of, ((1, 2),), True, "`n` must be one of 1, 2; got True."),
]


@pytest.mark.parametrize(("check", "rule", "value", "message"), REFUSALS)
def test_a_refusal_names_the_argument_the_rule_and_the_value(check, rule, value, message):
    with pytest.raises(ValueError) as refusal:
        check("n", value, *rule)
    assert str(refusal.value) == message


def test_what_fits_passes():
    _validate.at_least("n", 1, 1)
    _validate.whole("n", 1, 1)
    _validate.whole("n", np.uint8(3), 1)
    _validate.positive("n", 1e-300)
    _validate.finite("n", -5)
    _validate.one_of("n", "a", ("a", "b"))
