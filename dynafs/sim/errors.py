"""What a simulation can end with."""

from dynafs.errors import DynafsError


class SimulationError(DynafsError):
    """Root of what the simulator itself raises."""

    code = "simulation_error"


class SimulationLeak(SimulationError):
    """Code under simulation reached for the real world: a thread, a socket, a clock, or randomness nobody seeded."""

    code = "simulation_leak"


class SimulationStuck(SimulationError):
    """Nothing can happen any more, or what must happen did not within its time."""

    code = "simulation_stuck"


class PromiseBroken(SimulationError):
    """A checker found what must never be. `checker` names it."""

    code = "promise_broken"

    def __init__(self, checker: str, message: str) -> None:
        super().__init__(f"{checker}: {message}", checker=checker)
        self.checker = checker
