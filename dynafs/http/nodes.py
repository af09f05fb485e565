"""/v1/nodes/…: taking nodes out of service, and what all of them are to do."""

from collections.abc import Mapping

from aiohttp import web

from dynafs.errors import RequestInvalid
from dynafs.http.asking import decoded, whole_number
from dynafs.http.rendering import json_response
from dynafs.ring.names import BYTES_PER_S_MAX
from dynafs.services import Replication

ACTIONS = ("drain", "resume", "restart")


class NodeRoutes:
    """Answers operators who maintain nodes."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication

    async def act(self, rest: str, query: Mapping[str, str]) -> web.StreamResponse:
        """Drain, resume or restart a node. rest: NODE/ACTION."""
        raw_node, _, action = rest.partition("/")
        node, maintenance = decoded(raw_node, "node"), self._replication.maintenance
        if action not in ACTIONS:
            raise RequestInvalid("action", f"use one of {', '.join(ACTIONS)}")
        for_restart = query.get("for_restart")
        if for_restart is not None and (action != "drain" or for_restart not in ("true", "false")):
            raise RequestInvalid("for_restart", "use true or false, with drain only")
        if action == "drain":
            await maintenance.drain(node, for_restart=for_restart == "true")
        elif action == "resume":
            await maintenance.resume(node)
        else:
            await maintenance.restart_node(node)
        return json_response({"node": node, "action": action}, 202)

    async def throttle(self, query: Mapping[str, str]) -> web.StreamResponse:
        """Set how fast every node takes over what it will own; 0 leaves it to the nodes."""
        limit = whole_number(query, "bytes_per_s_max", 0, BYTES_PER_S_MAX)
        if limit is None:
            raise RequestInvalid("bytes_per_s_max", "say how many bytes a second each node may move; 0: its own pace")
        failed = await self._replication.maintenance.limit("ring", limit)
        return json_response({"bytes_per_s_max": limit, "failed": failed})
