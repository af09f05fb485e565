"""The jobs routes: what a node does in the background, and stopping or hurrying it."""

import msgspec
from aiohttp import web

from dynafs.errors import NotFound, RequestInvalid
from dynafs.http.rendering import json_response
from dynafs.replication.cluster import Replication

ACTIONS = ("start", "pause", "resume")


class JobRoutes:
    """Answers for background jobs."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    async def show(self) -> web.StreamResponse:
        """Every job of this node."""
        jobs = [msgspec.to_builtins(job.status) for job in self._replication.jobs.values()]
        return json_response({"seen_by": self._replication.settings.node.name, "jobs": jobs})

    async def act(self, rest: str) -> web.StreamResponse:
        """Start, pause or resume a job. rest: NAME/ACTION."""
        name, _, action = rest.partition("/")
        job = self._replication.jobs.get(name)
        if job is None:
            raise NotFound("job", name[:200])
        if action not in ACTIONS:
            raise RequestInvalid("action", f"use one of {', '.join(ACTIONS)}")
        {"start": job.start_now, "pause": job.pause, "resume": job.resume}[action]()
        return json_response(msgspec.to_builtins(job.status), 202)
