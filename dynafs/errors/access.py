"""Errors of who may do what."""

from dynafs.errors.root import DynafsError


class Unauthorized(DynafsError):
    """No token, or a wrong one."""

    code = "unauthorized"


class OriginRefused(DynafsError):
    """A browser sent the request on behalf of a foreign page, or for a host name that is not ours."""

    code = "origin_refused"
