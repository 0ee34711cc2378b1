"""Runs, records, profiles and the store.

from dslstudy.study import RunConfig, open_study
record = open_study("quick").obtain([RunConfig(dataset="movielens-100k")])[0]
"""

from dslstudy.study.config import RunConfig, with_settings
from dslstudy.study.profiles import PROFILES, Profile, get_profile
from dslstudy.study.store import Record, RunStore
from dslstudy.study.study import Study, TrainedModel, open_study

__all__ = [
    "PROFILES",
    "Profile",
    "Record",
    "RunConfig",
    "RunStore",
    "Study",
    "TrainedModel",
    "get_profile",
    "open_study",
    "with_settings",
]
