"""Settings: typed, frozen, checked as a whole. The only package that reads TOML.

`sections` says what there is, each number with its range; `loading` turns a file into it; `checks` judges it as a
whole. Unknown keys are errors, and every problem is reported at once, each with its field and the fix.
"""

from dynafs.config.addresses import is_loopback, joined, split_address
from dynafs.config.checks import check_settings
from dynafs.config.loading import exposed_secrets, load_settings
from dynafs.config.sections import (
    ClusterSettings,
    HealingSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MemberSettings,
    NodeSettings,
    Section,
    Settings,
    StorageSettings,
    TimeoutSettings,
)

__all__ = [
    "ClusterSettings",
    "HealingSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "MemberSettings",
    "NodeSettings",
    "Section",
    "Settings",
    "StorageSettings",
    "TimeoutSettings",
    "check_settings",
    "exposed_secrets",
    "is_loopback",
    "joined",
    "load_settings",
    "split_address",
]
