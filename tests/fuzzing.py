"""How much and from which seed the fuzzed tests try: FUZZ_SEED takes another, FUZZ_EXAMPLES more of each."""

import os

from hypothesis import HealthCheck, settings

SEED = int(os.environ.get("FUZZ_SEED", "7"))
# What takes long and has no deadline of its own is a busy machine, no fault.
PROFILE = settings(
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def examples(usual: int) -> settings:
    """The settings of a fuzzed test that makes so many examples unless FUZZ_EXAMPLES multiplies them."""
    return settings(PROFILE, max_examples=usual * int(os.environ.get("FUZZ_EXAMPLES", "1")))
