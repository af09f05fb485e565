"""What operators ask of a node: the ring, jobs, hints, the census."""

from typing import Any

import msgspec

from dynafs.client.connection import Connection, quoted, quoted_name
from dynafs.client.ring_shapes import NodeAction, Places, Ring, RingHistory, RingPlan, RingStatus, Throttled, Transfers
from dynafs.client.shapes import Census, Explanation, Hints, JobRow, Jobs
from dynafs.errors import AnswerUnexpected, NameInvalid


class OperatorCalls(Connection):
    """The routes that are not about files' contents."""

    async def ring(self) -> dict[str, Any]:
        """Return the ring's members and shares."""
        return await self.json("GET", "/v1/ring", Ring)

    async def ring_plan(self) -> dict[str, Any]:
        """Return what the staged changes of the ring would take."""
        return await self.json("GET", "/v1/ring/plan", RingPlan)

    async def stage(self, **change: Any) -> dict[str, Any]:
        """Stage a change of the ring (kind, node, by, weight, zone, address); return the plan of all that is staged."""
        return await self.json("POST", "/v1/ring/stage", RingPlan, data=_encoded(change))

    async def clear_staged(self) -> dict[str, Any]:
        """Forget all staged changes; return the plan that is left."""
        return await self.json("POST", "/v1/ring/clear", RingPlan)

    async def commit_ring(self, plan_hash: str) -> dict[str, Any]:
        """Begin to move to the ring of the staged changes; return how far that is."""
        return await self.json("POST", "/v1/ring/commit", Transfers, data=_encoded({"hash": plan_hash}))

    async def cancel_ring(self) -> dict[str, Any]:
        """Give a change of the ring up that has not switched yet; return what stands."""
        return await self.json("POST", "/v1/ring/cancel", Transfers)

    async def ring_status(self) -> dict[str, Any]:
        """Return every node of the ring as it says itself, and what an operator should look after."""
        return await self.json("GET", "/v1/ring/status", RingStatus)

    async def ring_history(self) -> dict[str, Any]:
        """Return which rings the node has heard of, the oldest first."""
        return await self.json("GET", "/v1/ring/history", RingHistory)

    async def transfers(self) -> dict[str, Any]:
        """Return how far a change of the ring is."""
        return await self.json("GET", "/v1/ring/transfers", Transfers)

    async def act_on_node(self, node: str, action: str, **query: str) -> dict[str, Any]:
        """Drain, resume or restart a node. query: for_restart="true" for a drain."""
        path = f"/v1/nodes/{quoted(node, 'node')}/{quoted(action, 'action')}"
        return await self.json("POST", path, NodeAction, query=query, statuses=(202,))

    async def throttle_ring(self, bytes_per_s_max: int) -> dict[str, Any]:
        """Set how fast every node takes over data while the ring changes; 0 for its own pace. Return who did not."""
        query = {"bytes_per_s_max": str(bytes_per_s_max)}
        return await self.json("POST", "/v1/ring/throttle", Throttled, query=query)

    async def jobs(self) -> dict[str, Any]:
        """Return what the node does in the background."""
        return await self.json("GET", "/v1/jobs", Jobs)

    async def job(self, name: str) -> dict[str, Any]:
        """Return the status of one background job. Raises AnswerUnexpected when the node has none of that name."""
        for row in (await self.jobs())["jobs"]:
            if row["name"] == name:
                return dict(row)
        raise AnswerUnexpected(f"unexpected answer from {self.url}: it has no job named {name}", url=self.url)

    async def hints(self) -> dict[str, Any]:
        """Return what every node keeps for others that are away."""
        return await self.json("GET", "/v1/hints", Hints)

    async def act_on_job(self, name: str, action: str, **query: str) -> dict[str, Any]:
        """Start, pause, resume or limit a background job; return its status.

        query: deep="true" for a census, bytes_per_s_max="N" for a limit.
        """
        path = f"/v1/jobs/{quoted(name, 'name')}/{quoted(action, 'action')}"
        return await self.json("POST", path, JobRow, query=query, statuses=(202,))

    async def explain(self, bucket: str, path: str) -> dict[str, Any]:
        """Return who holds what of a file, and what repair will do next."""
        return await self.json("GET", f"/v1/explain/{quoted_name(bucket, path)}", Explanation)

    async def census(self) -> dict[str, Any]:
        """Return what the node's last census counted."""
        return await self.json("GET", "/v1/census", Census)

    async def locate(self, bucket: str, path: str) -> dict[str, Any]:
        """Return the owners and fallbacks of a file's record."""
        return await self.json("GET", f"/v1/ring/locate/{quoted_name(bucket, path)}", Places)


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise NameInvalid("body", "a name in it is not valid UTF-8") from None
