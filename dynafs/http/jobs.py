"""The jobs routes: what a node does in the background, and stopping or hurrying it."""

import msgspec
from aiohttp import web

from dynafs.errors import NotFound, RequestInvalid
from dynafs.http.asking import whole_number
from dynafs.http.rendering import json_response
from dynafs.jobs.job import Job
from dynafs.ring.names import BYTES_PER_S_MAX
from dynafs.services import Replication

ACTIONS = ("start", "pause", "resume", "limit")


class JobRoutes:
    """Answers for background jobs."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    async def show(self) -> web.StreamResponse:
        """Every job of this node."""
        jobs = [msgspec.to_builtins(job.status) for job in self._replication.jobs.by_name.values()]
        return json_response({"seen_by": self._replication.settings.node.name, "jobs": jobs})

    async def hints(self) -> web.StreamResponse:
        """What every node keeps for others."""
        rows: list[dict[str, object]] = []
        silent: dict[str, str] = {}
        for keeper, kept in sorted((await self._replication.inspector.hints()).items()):
            if isinstance(kept, str):
                silent[keeper] = kept
                continue
            rows += [
                {"keeper": keeper, "target": target, "count": count, "bytes": size, "oldest_unix_ms": since_ms}
                for target, (count, size, since_ms) in sorted(kept.items())
            ]
        return json_response({"hints": rows, "silent": silent})

    async def census(self) -> web.StreamResponse:
        """What the last census on this node counted."""
        report, job = self._replication.census.report, self._replication.census.job
        if report is None:
            raise NotFound("census", "none was taken on this node; POST /v1/jobs/census/start")
        told = {**msgspec.to_builtins(report, str_keys=True), "is_whole": report.is_whole}
        return json_response({"seen_by": self._replication.settings.node.name, "number": job.status.runs, **told})

    async def act(self, rest: str, query: dict[str, str]) -> web.StreamResponse:
        """Start, pause, resume or limit a job. rest: NAME/ACTION."""
        name, _, action = rest.partition("/")
        job = self._replication.jobs.by_name.get(name)
        if job is None:
            raise NotFound("job", name[:200])
        if action not in ACTIONS:
            raise RequestInvalid("action", f"use one of {', '.join(ACTIONS)}")
        if "deep" in query and (name, action) != ("census", "start"):
            raise RequestInvalid("deep", "only a census that starts can be deep")
        if query.get("deep", "true") not in ("true", "false"):
            raise RequestInvalid("deep", "use true or false")
        if ("bytes_per_s_max" in query) != (action == "limit"):
            raise RequestInvalid("bytes_per_s_max", "use it with the action limit, and only there")
        if action == "limit":
            self._limit(job, query)
        elif (name, action) == ("census", "start"):
            self._replication.census.start(is_deep=query.get("deep") == "true")
        else:
            {"start": job.start_now, "pause": job.pause, "resume": job.resume}[action]()
        return json_response(msgspec.to_builtins(job.status), 202)

    @staticmethod
    def _limit(job: Job, query: dict[str, str]) -> None:
        """Set a job's pace, or with 0 leave it to the job again."""
        if job.status.bytes_per_s_max is None:
            raise RequestInvalid("bytes_per_s_max", f"{job.status.name} has no pace to limit")
        job.limit(whole_number(query, "bytes_per_s_max", 0, BYTES_PER_S_MAX) or None)
