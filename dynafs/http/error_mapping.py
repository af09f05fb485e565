"""Errors as HTTP: one table, one rendering."""

import json

import msgspec
from aiohttp import web

from dynafs import errors

STATUS: dict[type[errors.DynafsError], int] = {
    errors.RequestInvalid: 400,
    errors.RequestMalformed: 400,
    errors.RingError: 400,
    errors.BodyIncomplete: 400,
    errors.BodyTooSlow: 408,
    errors.Unauthorized: 401,
    errors.OriginRefused: 403,
    errors.NotFound: 404,
    errors.BucketExists: 409,
    errors.TooManySiblings: 409,
    errors.TooManyActors: 503,
    errors.RingChanged: 409,
    errors.PlanOutdated: 409,
    errors.NotSafe: 409,
    errors.NodesApart: 503,
    errors.PreconditionFailed: 412,
    errors.TargetTooLong: 414,
    errors.RangeNotSatisfiable: 416,
    errors.ExpectationFailed: 417,
    errors.DigestMismatch: 422,
    errors.HeadersTooLarge: 431,
    errors.NotSupported: 501,
    errors.Overloaded: 503,
    errors.QuorumError: 503,
    errors.ChunkUnavailable: 503,
    errors.PeerError: 503,
    errors.ClockSkewed: 503,
    errors.ReplicaIncomplete: 503,
    errors.RingUndecided: 503,
    errors.VersionNotSupported: 505,
    errors.StoreFull: 507,
}


def status_of(error: errors.DynafsError) -> int:
    """Return the status of the nearest class in the table, 500 for none; a quorum lost to full disks is a full disk."""
    if isinstance(error, errors.WriteQuorumLost) and set(error.failures.values()) == {errors.StoreFull.code}:
        return STATUS[errors.StoreFull]
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_body(error: errors.DynafsError) -> bytes:
    """Return the JSON body every error has."""
    told = {"code": error.code, "message": error.message, "retryable": error.retryable, **error.evidence}
    try:
        return msgspec.json.encode({"error": told}) + b"\n"
    except UnicodeEncodeError:
        # Evidence can quote a header with bytes that are not UTF-8; each is shown as a question mark.
        return json.dumps({"error": told}, default=str, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def error_response(error: errors.DynafsError) -> web.Response:
    """Return the response for an error."""
    status = status_of(error)
    headers = {"Content-Type": "application/json"}
    if isinstance(error, errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    elif isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    elif status == 503:
        headers["Retry-After"] = str(getattr(error, "retry_after_s", 1))
    return web.Response(status=status, body=error_body(error), headers=headers)
