"""How many random programs are tried: REPLAY_PROGRAMS, from the seed REPLAY_SEED on."""

import os

IS_NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
PROGRAMS = int(os.environ.get("REPLAY_PROGRAMS", "20000" if IS_NIGHTLY else "1000"))
FIRST_SEED = int(os.environ.get("REPLAY_SEED", "0"))
# What costs more is done less often.
PROGRAMS_PER_VERSION = PROGRAMS // 7
PROGRAMS_ON_WORKERS = PROGRAMS // 50

# For pytest's mark `timeout`; 0 is none.
SECONDS = 0 if IS_NIGHTLY else 120
