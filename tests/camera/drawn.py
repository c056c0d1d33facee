"""The seed of simulated cameras: fixed, so that a run can be repeated; set RESTORE_TEST_SEED to draw others."""

import os

SEED = int(os.environ.get("RESTORE_TEST_SEED", "7"))
