"""How much the tests do that could go on for ever."""

import os

#: CLOUDTASK_FUZZ: 0.2 tries a fifth of the examples, 40 forty times as many.
FACTOR = float(os.environ.get("CLOUDTASK_FUZZ", "1"))


def scaled(number: int) -> int:
    return max(1, round(FACTOR * number))
