"""/v1/metadata, /v1/chunks, /v1/ring, /v1/cluster, and listings: looking, not touching."""

import base64
import binascii
import time

import msgspec
from aiohttp import web

from dynafs.errors import NotFound, ReadQuorumLost, RequestInvalid
from dynafs.files import BucketPolicy, FileName
from dynafs.files.conditions import Validators, must_send, select_ranges
from dynafs.files.manifest import CHUNK_ID_SIZE_BYTES, PAGE_CHUNKS, chunk_count
from dynafs.files.name import check_bucket
from dynafs.files.ranges import ByteRange
from dynafs.http.asking import query_of, quorum_of, small_body, whole_number
from dynafs.http.bodies import field_of, json_body
from dynafs.http.fields import conditions_of
from dynafs.http.files import QUORUM_QUERY
from dynafs.http.rendering import json_response, listed_file, not_modified_response, version_json
from dynafs.http.sending import Outflow, whole
from dynafs.quorum import QuorumPolicy
from dynafs.ring import file_hash, partition_of
from dynafs.ring.shares import fair_shares
from dynafs.services import Replication

POLICY_SIZE_BYTES_MAX = 4096
POLICY_EXAMPLE = '{"r": 2, "w": 2}'
_object_decoder = msgspec.json.Decoder(dict[str, object])


class InspectionRoutes:
    """Everything that only looks, and the making of buckets."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        cluster = replication.settings.cluster
        self._default = QuorumPolicy(cluster.n, cluster.r, cluster.w)

    async def list_files(self, bucket: str, raw_query: str) -> web.StreamResponse:
        """One page of a bucket's files, or of all buckets when `bucket` is empty."""
        replication = self._replication
        query = query_of(raw_query, ("prefix", "delimiter", "limit", "cursor", *QUORUM_QUERY))
        asked = quorum_of(query, replication.ring.n)
        policy = self._default
        if bucket:
            found = await replication.buckets.find(check_bucket(bucket))
            policy = replication.buckets.quorum(found, asked.r, None, asked.consistency)
        rows_max = replication.settings.limits.listing_rows_max
        limit = whole_number(query, "limit", 1, rows_max) or rows_max
        after = _after_of(query.get("cursor"))
        listing = await replication.lister.page(
            bucket, query.get("prefix", ""), query.get("delimiter", ""), after, limit, policy
        )
        cursor = None if listing.after is None else base64.urlsafe_b64encode(listing.after).decode()
        if not bucket:
            return json_response({"buckets": [path for path, _ in listing.files], "cursor": cursor})
        siblings = listing.siblings
        rows = [listed_file(path, version, siblings.get(path, 0)) for path, version in listing.files]
        return json_response({"bucket": bucket, "files": rows, "prefixes": listing.prefixes, "cursor": cursor})

    async def make_bucket(self, request: web.BaseRequest, bucket: str) -> web.StreamResponse:
        """Make a bucket with a policy of its own: the fields of BucketPolicy, each optional."""
        buckets = self._replication.buckets
        body = await small_body(request, POLICY_SIZE_BYTES_MAX, self._replication.settings.http)
        given = json_body(body or b"{}", _object_decoder, POLICY_EXAMPLE)
        asked = {**msgspec.structs.asdict(buckets.default), **given}
        try:
            policy = msgspec.convert(asked, BucketPolicy)
        except msgspec.ValidationError as error:
            raise RequestInvalid(field_of(error), f"{error}; for example {POLICY_EXAMPLE}") from None
        made = await buckets.make(check_bucket(bucket), policy)
        return json_response({"bucket": bucket, "policy": msgspec.structs.asdict(made)}, 201)

    async def show_bucket(self, bucket: str) -> web.StreamResponse:
        """The bucket's policy."""
        policy = await self._replication.buckets.find(check_bucket(bucket))
        return json_response({"bucket": bucket, "policy": msgspec.structs.asdict(policy)})

    async def metadata(self, name: FileName, raw_query: str) -> web.StreamResponse:
        """A file's version, who holds its record, and where up to 1024 of its chunks lie."""
        replication = self._replication
        query = query_of(raw_query, ("first", "limit", *QUORUM_QUERY))
        asked = quorum_of(query, replication.ring.n)
        policy = await replication.buckets.find(name.bucket)
        quorum = replication.buckets.quorum(policy, asked.r, None, asked.consistency)
        record = await replication.files.read(name, quorum)
        version = record.files[0]
        manifest = version.manifest
        total = chunk_count(version.size_bytes, manifest.chunk_size_bytes) if manifest else 0
        first = whole_number(query, "first", 0, max(total, 1)) or 0
        stop = min(total, first + (whole_number(query, "limit", 1, PAGE_CHUNKS) or PAGE_CHUNKS))
        ids = await replication.files.chunk_ids(name, version, first, stop)
        found = await replication.inspector.whereabouts(ids)
        chunks = [{"index": first + i, "id": one.chunk_id.hex(), "copies": one.copies} for i, one in enumerate(found)]
        return json_response({
            "bucket": name.bucket, "path": name.path, **version_json(version),
            "siblings": [version_json(one) for one in record.files[1:]],
            "is_inline": manifest is None, "chunk_size_bytes": manifest.chunk_size_bytes if manifest else None,
            "chunk_count": total, "record": await replication.inspector.holders(name, version),
            "chunks": chunks, "next": stop if stop < total else None,
        })  # fmt: skip

    async def explain(self, name: FileName) -> web.StreamResponse:
        """All there is to know of one file, whether or not it exists."""
        replication = self._replication
        try:
            policy = replication.buckets.quorum(await replication.buckets.find(name.bucket))
        except (NotFound, ReadQuorumLost):
            policy = self._default
        told = await replication.explainer.explain(name, policy)
        return json_response({"seen_by": replication.settings.node.name, **msgspec.to_builtins(told)})

    async def chunk(self, request: web.BaseRequest, text: str) -> web.StreamResponse:
        """One chunk's verified bytes, or one range of them, from whichever owner has it."""
        chunk_id, now_s = _chunk_id(text), time.time()
        (where,) = await self._replication.inspector.whereabouts([chunk_id])
        if set(where.copies.values()) == {"missing"}:
            raise NotFound("chunk", text)
        fields = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{chunk_id.hex()}"',
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        current, conditions = Validators(chunk_id.hex()), conditions_of(request.headers)
        if conditions is not None and not must_send(conditions, current, now_s):
            return not_modified_response(fields)
        outflow = Outflow(request, self._replication.settings.http)
        with await self._replication.files.take(self._replication.settings.cluster.chunk_size_bytes, outflow):
            cached = self._replication.chunks.read_now(chunk_id)
            body = cached if cached is not None else await self._replication.chunks.look(chunk_id)
            if request.method == "HEAD":
                return web.Response(headers={**fields, "Content-Length": str(len(body))})
            ranges = None if conditions is None else select_ranges(conditions, current, len(body), now_s)
            status, part = 200, ByteRange(0, len(body))
            if ranges is not None and len(ranges) == 1:
                status, part = 206, ranges[0]
                fields["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
            response = web.StreamResponse(status=status, headers=fields)
            response.content_length = part.stop - part.start
            return await outflow.send(response, whole(memoryview(body)[part.start : part.stop]))

    async def ring(self) -> web.StreamResponse:
        """The ring: members with their shares."""
        ring, membership = self._replication.ring, self._replication.cluster.membership
        shares = fair_shares(ring.members, ring.partition_count, ring.n)
        members = [
            {
                "node": m.node, "zone": m.zone, "weight": m.weight, "is_up": membership.is_up(m.node),
                "partitions": ring.loads[m.node], "share": round(shares[m.node], 2),
            }
            for m in ring.members
        ]  # fmt: skip
        return json_response({
            "epoch": ring.epoch, "n": ring.n, "partitions": ring.partition_count, "digest": ring.digest.hex(),
            "seen_by": self._replication.settings.node.name, "members": members,
            "step": self._replication.cluster.view.state.step, "waiting": self._replication.newcomers.waiting,
        })  # fmt: skip

    async def locate(self, name: FileName) -> web.StreamResponse:
        """Where a file's record belongs, whether or not the file exists."""
        ring, told = self._replication.ring, await self._replication.surveyor.ask()
        partition = partition_of(file_hash(name.key), ring.partition_count)
        nodes = ring.preference_list(partition)
        addresses = self._replication.addresses
        rows = [
            {
                "node": node, "role": "owner" if i < ring.n else "fallback", "zone": ring.zones[node],
                "address": addresses.get(node, ""), "is_up": self._replication.cluster.membership.is_up(node),
                "http": told[node].http,
            }
            for i, node in enumerate(nodes)
        ]  # fmt: skip
        return json_response({"bucket": name.bucket, "path": name.path, "partition": partition, "nodes": rows})

    async def cluster(self) -> web.StreamResponse:
        """Which nodes this node can reach."""
        replication = self._replication
        nodes = {m.node: replication.cluster.membership.is_up(m.node) for m in replication.ring.members}
        cluster = replication.settings.cluster
        return json_response({
            "cluster": cluster.id, "seen_by": replication.settings.node.name, "n": cluster.n, "r": cluster.r,
            "w": cluster.w, "has_quorum": replication.has_quorum(), "is_up": nodes,
            "is_refilled": replication.disk.is_complete,
        })  # fmt: skip


def _chunk_id(text: str) -> bytes:
    try:
        chunk_id = bytes.fromhex(text)
    except ValueError:
        chunk_id = b""
    if len(chunk_id) != CHUNK_ID_SIZE_BYTES or len(text) != 2 * CHUNK_ID_SIZE_BYTES:
        raise RequestInvalid("id", "a chunk's id is 64 hexadecimal digits")
    return chunk_id


def _after_of(cursor: str | None) -> bytes:
    if not cursor:
        return b""
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise RequestInvalid("cursor", "use the cursor of an earlier page as it was") from None
