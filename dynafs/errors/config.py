"""Errors of settings."""

from collections.abc import Sequence

from dynafs.errors.root import DynafsError


class ConfigError(DynafsError):
    """Settings that cannot work. `problems` lists every one of them, each naming its field and the fix."""

    code = "config_invalid"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems), problems=list(problems))
        self.problems = list(problems)
