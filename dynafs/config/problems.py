"""What is wrong with settings: all of it, the first problem of each field."""

from collections.abc import Callable
from typing import TypeVar

from dynafs.errors import ConfigError, RequestInvalid

T = TypeVar("T")


class Problems:
    """Collects problems by field; a later one of the same field is a consequence of the first."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, field: str, text: str) -> None:
        """Note what is wrong with a field, and the fix."""
        self._found.setdefault(field, text)

    def check(self, field: str, rule: Callable[[T, str], T], value: T) -> bool:
        """Note it when a value breaks a rule of `ring.names`; return whether it does not."""
        try:
            rule(value, field)
        except RequestInvalid as error:
            self.add(field, error.message.removeprefix(f"{field}: "))
            return False
        return True

    def raise_if_any(self) -> None:
        """Raise ConfigError with every problem, or return."""
        if self._found:
            raise ConfigError([f"{field}: {text}" for field, text in self._found.items()])
