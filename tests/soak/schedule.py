"""What is done when: a sequence that a seed decides, whatever comes of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

WEIGHTS = {
    "type": 40,
    "resize": 8,
    "cut": 8,
    "hold": 3,
    "slow": 3,
    "stall": 4,
    "leave": 4,
    "flood": 4,
    "window": 4,
    "role": 4,
    "kick": 2,
    "visit": 4,
    "garbage": 2,
    "kill-client": 1,
    "login": 2,
    "record": 1,
    "tunnel": 0.3,
}
"""How often each is done, in relation to the others."""

PAUSE_S = 0.25
"""Mean time between two actions, in seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action."""

    number: int
    at_s: float
    """When, in seconds after the start."""
    action: str
    who: int
    """Which client: a number that is taken modulo how many there are."""
    amount: float
    """How much, from 0 to 1."""


def steps(seed: int) -> Iterator[Step]:
    """Return the steps, without end.

    >>> next(steps(1)) == next(steps(1)), next(steps(1)) == next(steps(2))
    (True, False)
    """
    source = random.Random(seed)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    at_s, number = 0.0, 0
    while True:
        at_s += source.expovariate(1 / PAUSE_S)
        number += 1
        (action,) = source.choices(names, weights)
        yield Step(number, at_s, action, source.randrange(1000), source.random())
