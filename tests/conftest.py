"""Settings every test shares."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test process per core: threads inside would fight

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dslstudy", deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dslstudy")
