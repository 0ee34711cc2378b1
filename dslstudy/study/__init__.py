"""Runs, records, profiles and the store.

from dslstudy.study import ClickRunConfig, RunConfig, open_study
study = open_study("quick")
ranking, clicks = study.obtain([RunConfig(dataset="movielens-100k"), ClickRunConfig(dataset="movielens-100k")])
"""

from dslstudy.study.click_config import ClickRunConfig, with_click_settings
from dslstudy.study.click_runs import TrainedClickModel
from dslstudy.study.config import RunConfig, with_settings
from dslstudy.study.profiles import PROFILES, Profile, get_profile
from dslstudy.study.store import Record, RunStore
from dslstudy.study.study import Study, TrainedModel, open_study

__all__ = [
    "PROFILES",
    "ClickRunConfig",
    "Profile",
    "Record",
    "RunConfig",
    "RunStore",
    "Study",
    "TrainedClickModel",
    "TrainedModel",
    "get_profile",
    "open_study",
    "with_click_settings",
    "with_settings",
]
