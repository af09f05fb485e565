"""Routes: which method on which path does what."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from dynafs.errors import DynafsError, NotFound
from dynafs.http.asking import decoded, file_name, query_of
from dynafs.http.error_mapping import error_response
from dynafs.http.fields import check_fields
from dynafs.http.files import FileRoutes
from dynafs.http.inspection import InspectionRoutes
from dynafs.http.jobs import JobRoutes
from dynafs.http.multipart import MultipartRoutes
from dynafs.http.nodes import NodeRoutes
from dynafs.http.openapi import DOCUMENT
from dynafs.http.owners import OwnerRoutes
from dynafs.http.rendering import json_response
from dynafs.http.ring import RingRoutes
from dynafs.observe import metrics
from dynafs.services import Replication

_FILES, _METADATA, _CHUNKS, _BUCKETS, _LOCATE, _JOBS, _EXPLAIN = (
    "/v1/files/", "/v1/metadata/", "/v1/chunks/", "/v1/buckets/", "/v1/ring/locate/", "/v1/jobs",
    "/v1/explain/",
)  # fmt: skip
#: What operators POST to.
_RING_ACTIONS = ("/v1/ring/stage", "/v1/ring/clear", "/v1/ring/commit", "/v1/ring/cancel", "/v1/ring/throttle")
_NODES = "/v1/nodes/"
_OWNERS = "/v1/ring/owners"


class MethodNotAllowed(DynafsError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class Router:
    """Hands a request to its resource."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._files = FileRoutes(replication)
        self._multipart = MultipartRoutes(replication)
        self._look = InspectionRoutes(replication)
        self._jobs = JobRoutes(replication)
        self._ring = RingRoutes(replication)
        self._nodes = NodeRoutes(replication)
        self._owners = OwnerRoutes(replication)
        self._get_routes = self._fixed()

    async def route(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Return the response. Raises DynafsError. path and query: raw, still percent-encoded."""
        check_fields(request)
        if path.startswith(_FILES):
            return await self._route_files(request, path[len(_FILES) :], query)
        if path.startswith(_BUCKETS):
            return await self._route_bucket(request, decoded(path[len(_BUCKETS) :], "bucket"), query)
        if path == _JOBS or path.startswith((f"{_JOBS}/", _NODES)) or path in _RING_ACTIONS:
            return await self._route_operator(request, path, query)
        if request.method not in ("GET", "HEAD"):
            return self._not_allowed(request, "GET, HEAD") if self._exists(path) else _no_route(path)
        if path.startswith(_METADATA):
            return await self._look.metadata(file_name(path[len(_METADATA) :]), query)
        if path.startswith(_CHUNKS):
            query_of(query, ())
            return await self._look.chunk(request, path[len(_CHUNKS) :])
        if path.startswith((_EXPLAIN, _LOCATE)) or path == _OWNERS:
            return await self._route_place(request, path, query)
        return await self._route_fixed(path, query)

    async def _route_fixed(self, path: str, query: str) -> web.StreamResponse:
        """Answer a path that has no name in it."""
        answer = self._get_routes.get(path)
        if answer is None:
            return _no_route(path)
        if path.startswith("/v1/") and path != "/v1/files":
            query_of(query, ())
        return await answer(query)

    async def _route_place(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Answer about where files belong, whether or not they exist."""
        query_of(query, ())
        if path == _OWNERS:
            return await self._owners.table(request)
        if path.startswith(_EXPLAIN):
            return await self._look.explain(file_name(path[len(_EXPLAIN) :]))
        return await self._look.locate(file_name(path[len(_LOCATE) :]))

    async def _route_files(self, request: web.BaseRequest, rest: str, query: str) -> web.StreamResponse:
        method = request.method
        _, slash, path = rest.partition("/")
        if method in ("GET", "HEAD") and not path and not slash:
            return await self._look.list_files(decoded(rest, "bucket"), query)
        if method == "POST":
            return await self._multipart.post(request, rest, query)
        name = file_name(rest)
        if method in ("GET", "HEAD"):
            return await self._files.get(request, name, query)
        if method == "PUT":
            return await self._files.put(request, name, query)
        if method == "DELETE":
            return await self._files.delete(request, name, query)
        return self._not_allowed(request, "GET, HEAD, PUT, POST, DELETE")

    async def _route_bucket(self, request: web.BaseRequest, bucket: str, query: str) -> web.StreamResponse:
        query_of(query, ())
        if request.method == "PUT":
            return await self._look.make_bucket(request, bucket)
        if request.method in ("GET", "HEAD"):
            return await self._look.show_bucket(bucket)
        return self._not_allowed(request, "GET, HEAD, PUT")

    async def _route_job(self, request: web.BaseRequest, rest: str, query: str) -> web.StreamResponse:
        if request.method == "POST" and rest:
            return await self._jobs.act(rest, query_of(query, ("deep", "bytes_per_s_max")))
        query_of(query, ())
        if request.method in ("GET", "HEAD") and not rest:
            return await self._jobs.show()
        return self._not_allowed(request, "POST" if rest else "GET, HEAD")

    async def _route_operator(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Have something done that operators ask for."""
        if path.startswith(_NODES):
            return await self._route_node(request, path[len(_NODES) :], query)
        if path not in _RING_ACTIONS:
            return await self._route_job(request, path[len(_JOBS) + 1 :], query)
        if request.method != "POST":
            return self._not_allowed(request, "POST")
        if path == "/v1/ring/throttle":
            return await self._nodes.throttle(query_of(query, ("bytes_per_s_max",)))
        query_of(query, ())
        match path:
            case "/v1/ring/stage":
                return await self._ring.stage(request)
            case "/v1/ring/commit":
                return await self._ring.commit(request)
            case "/v1/ring/cancel":
                return await self._ring.cancel()
            case _:
                return await self._ring.clear()

    async def _route_node(self, request: web.BaseRequest, rest: str, query: str) -> web.StreamResponse:
        """Have something done to one node."""
        if request.method != "POST":
            return self._not_allowed(request, "POST")
        return await self._nodes.act(rest, query_of(query, ("for_restart",)))

    def _fixed(self) -> dict[str, Callable[[str], Awaitable[web.StreamResponse]]]:
        """Return {path: what answers GET there, given the query}."""
        return {
            "/v1/files": lambda query: self._look.list_files("", query),
            "/v1/ring": lambda _: self._look.ring(),
            "/v1/ring/plan": lambda _: self._ring.plan(),
            "/v1/ring/history": lambda _: self._ring.history(),
            "/v1/ring/status": lambda _: self._ring.status(),
            "/v1/ring/transfers": lambda _: self._ring.transfers(),
            "/v1/cluster": lambda _: self._look.cluster(),
            "/v1/census": lambda _: self._jobs.census(),
            "/v1/hints": lambda _: self._jobs.hints(),
            "/healthz": _healthy,
            "/readyz": self._readiness,
            "/metrics": _metrics,
            "/openapi.json": _document,
        }

    async def _readiness(self, _: str) -> web.StreamResponse:
        if not self._replication.disk.is_complete:
            status = "refilling"
        elif self._replication.maintenance.is_draining:
            status = "draining"
        else:
            status = "ready" if self._replication.has_quorum() else "no quorum"
        shown = {"status": status, "instance": self._owners.own_instance()}
        return json_response(shown, 200 if status == "ready" else 503)

    def _exists(self, path: str) -> bool:
        return path in self._get_routes or path == _OWNERS or path.startswith((_METADATA, _CHUNKS, _LOCATE, _EXPLAIN))

    def _not_allowed(self, request: web.BaseRequest, allowed: str) -> web.StreamResponse:
        error = MethodNotAllowed(f"{request.method} is not offered here; use {allowed}", allowed=allowed)
        response = error_response(error)
        response.set_status(405)
        response.headers["Allow"] = allowed
        return response


async def _healthy(_: str) -> web.StreamResponse:
    return json_response({"status": "alive"})


async def _metrics(_: str) -> web.StreamResponse:
    return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def _document(_: str) -> web.StreamResponse:
    return json_response(DOCUMENT)


def _no_route(path: str) -> web.StreamResponse:
    raise NotFound("route", path[:200])
