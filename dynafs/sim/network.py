"""A network that delays, loses, repeats and reorders, and that can be cut in one direction or both."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from dynafs.sim.loop import Life
from dynafs.sim.trace import Trace


@dataclass
class NetworkConditions:
    """How links behave when nothing is broken on purpose. Shares are of messages."""

    delay_s: float = 0.001
    jitter_s: float = 0.002
    lost: float = 0.0
    repeated: float = 0.0
    #: share that is held back for up to late_s
    late: float = 0.0
    late_s: float = 10.0


class Endpoint(Protocol):
    """The network side of one life of a node."""

    @property
    def life(self) -> Life:
        """Whose endpoint it is."""
        ...

    def on_message(self, source: str, source_life: int, data: bytes) -> None:
        """Take a message."""
        ...

    def on_reset(self, peer: str, peer_life: int) -> None:
        """Learn that a life of a peer is over: its host refused what was sent to it, or closed its connections."""
        ...


class Network:
    """All links. A message names the life it is meant for, as a TCP connection does; 0 means any."""

    def __init__(self, seed: int, conditions: NetworkConditions, trace: Trace) -> None:
        self._seed, self.conditions, self._trace = seed, conditions, trace
        self._loop = asyncio.get_running_loop()
        self._endpoints: dict[str, Endpoint] = {}
        self._links: dict[tuple[str, str], random.Random] = {}
        #: hosts without power answer nothing, not even that nobody is there
        self._dark: dict[str, None] = {}
        #: sets of (from, to) that are cut, one per fault
        self.cuts: list[dict[tuple[str, str], None]] = []
        #: share of all messages lost while a fault lasts
        self.storm = 0.0
        #: {(from, to): factor on delays}
        self.slow: dict[tuple[str, str], float] = {}
        #: {(from, to): virtual time before which nothing arrives}
        self.clogged: dict[tuple[str, str], float] = {}
        #: {node: virtual time before which it neither hears nor speaks}
        self.paused: dict[str, float] = {}

    def attach(self, endpoint: Endpoint) -> None:
        """Put a life on the network."""
        self._endpoints[endpoint.life.node] = endpoint
        self._dark.pop(endpoint.life.node, None)

    def detach(self, node: str, *, is_dark: bool) -> None:
        """Take a node off. is_dark: the host lost power, so nobody is told; otherwise its connections are closed."""
        endpoint = self._endpoints.pop(node, None)
        if is_dark:
            self._dark[node] = None
        elif endpoint is not None:
            for other in list(self._endpoints):
                self._reset(node, endpoint.life.number, other)

    def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Stop everything that goes from one side to the other, in this direction only."""
        targets = list(targets)
        self.cuts.append({(a, b): None for a in sources for b in targets if a != b})

    def is_cut(self, link: tuple[str, str]) -> bool:
        """Return whether nothing gets through from one node to another."""
        return bool(self.cuts) and any(link in cut for cut in self.cuts)

    def heal(self) -> None:
        """Mend all links."""
        self.cuts.clear()
        self.storm = 0.0
        self.slow.clear()
        self.clogged.clear()

    def send(self, source: Life, target: str, target_life: int, data: bytes) -> None:
        """Deliver a message some time, once, twice or never."""
        if not source.is_alive:
            return
        link = (source.node, target)
        rng, conditions = self._link(link), self.conditions
        fate, repeat = rng.random(), rng.random()
        delay_s = self._delay_s(link, rng)
        if self.is_cut(link) or fate < conditions.lost + self.storm:
            self._trace.note(source.node, "message.lost", (target, len(data)))
            return
        self._deliver_after(delay_s, source, target, target_life, data)
        if repeat < conditions.repeated:
            self._deliver_after(self._delay_s(link, rng) * 3, source, target, target_life, data)

    def _link(self, link: tuple[str, str]) -> random.Random:
        # One source of chance per link: leaving out one message changes nothing for the other links.
        rng = self._links.get(link)
        if rng is None:
            rng = self._links[link] = random.Random(f"{self._seed} {link[0]}>{link[1]}")  # noqa: S311
        return rng

    def _delay_s(self, link: tuple[str, str], rng: random.Random) -> float:
        conditions = self.conditions
        delay_s = conditions.delay_s + rng.expovariate(1.0) * conditions.jitter_s
        if rng.random() < conditions.late:
            delay_s += rng.random() * conditions.late_s
        delay_s *= self.slow.get(link, 1.0)
        now_s = self._loop.time()
        held_s = max(self.clogged.get(link, 0.0), self.paused.get(link[0], 0.0)) - now_s
        return max(held_s, 0.0) + delay_s

    def _deliver_after(self, delay_s: float, source: Life, target: str, target_life: int, data: bytes) -> None:
        self._loop.call_later(delay_s, self._arrive, source.node, source.number, target, target_life, data)

    def _arrive(self, source: str, source_life: int, target: str, target_life: int, data: bytes) -> None:
        if self.is_cut((source, target)) or target in self._dark:
            return
        wait_s = self.paused.get(target, 0.0) - self._loop.time()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._arrive, source, source_life, target, target_life, data)
            return
        endpoint = self._endpoints.get(target)
        if endpoint is None or target_life not in (0, endpoint.life.number):
            self._reset(target, target_life, source)
            return
        self._trace.note(target, "message.arrived", (source, len(data)))
        endpoint.life.context.run(endpoint.on_message, source, source_life, data)

    def _reset(self, node: str, life: int, to: str) -> None:
        """Tell a node that a life of another one is over."""
        link = (node, to)
        self._loop.call_later(self._delay_s(link, self._link(link)), self._arrive_reset, node, life, to)

    def _arrive_reset(self, node: str, life: int, to: str) -> None:
        endpoint = self._endpoints.get(to)
        if endpoint is not None and not self.is_cut((node, to)) and node not in self._dark:
            endpoint.life.context.run(endpoint.on_reset, node, life)
