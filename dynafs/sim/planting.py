"""Loads bugs that are put in on purpose. They are part of the source tree, beside its tests; the package has none.

Rule: the package of plants has PLANTS, {name: [(class, method, its replacement)]}, and `planted`, which runs with one
of them.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

PACKAGE = "tests.sim.mutants"
_PARENTS = {PACKAGE, PACKAGE.rpartition(".")[0], PACKAGE.partition(".")[0]}
Plants = Mapping[str, Sequence[tuple[type, str, Callable[..., Any]]]]


class PlantsMissing(Exception):
    """There is no source tree to load plants from."""

    def __init__(self) -> None:
        super().__init__(
            f"no bugs to put in: they are not part of the installed package but of the source tree "
            f"({PACKAGE.replace('.', '/')}); run tools/dev sim in a checkout"
        )


def load_plants() -> Plants:
    """Return all plants. Raises PlantsMissing."""
    return cast("Plants", _load().PLANTS)


def planted(name: str | None) -> AbstractContextManager[None]:
    """Run with a bug, or with none. Raises PlantsMissing."""
    return nullcontext() if name is None else cast("AbstractContextManager[None]", _load().planted(name))


def _load() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name in _PARENTS:
            raise PlantsMissing from None
        # A plant imports a module that is gone.
        raise
