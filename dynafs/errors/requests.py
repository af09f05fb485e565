"""Requests that are refused for their form, before any resource is looked at."""

from dynafs.errors.root import DynafsError


class RequestMalformed(DynafsError):
    """Bytes that are not an HTTP request; `reason` is the kind of the fault, never a part of the bytes."""

    code = "request_malformed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the request is not valid HTTP/1.1 ({reason})", reason=reason)


class HeadersTooLarge(DynafsError):
    """The header section of one request exceeds `size_bytes_max`, or a single header does."""

    code = "headers_too_large"

    def __init__(self, size_bytes_max: int, *, is_single: bool = False) -> None:
        what, setting = (
            ("a header", "http.header_size_bytes_max")
            if is_single
            else ("all headers of a request together", "http.headers_total_size_bytes_max")
        )
        super().__init__(f"{what} may have at most {size_bytes_max} bytes ({setting})", size_bytes_max=size_bytes_max)


class TargetTooLong(DynafsError):
    """The target of a request exceeds `size_bytes_max`."""

    code = "target_too_long"

    def __init__(self, size_bytes_max: int) -> None:
        super().__init__(
            f"the target of a request may have at most {size_bytes_max} bytes (http.header_size_bytes_max)",
            size_bytes_max=size_bytes_max,
        )


class VersionNotSupported(DynafsError):
    """The request line names another major version of HTTP than 1."""

    code = "version_not_supported"


class ExpectationFailed(DynafsError):
    """The header Expect asks for something other than 100-continue."""

    code = "expectation_failed"


class RequestInvalid(DynafsError):
    """The client asked for something malformed or out of range; `field` says which part."""

    code = "request_invalid"

    def __init__(self, field: str, message: str, **evidence: object) -> None:
        super().__init__(f"{field}: {message}", field=field, **evidence)


class NameInvalid(RequestInvalid):
    """A bucket or path that dynafs cannot store."""

    code = "name_invalid"


class PolicyRefused(RequestInvalid):
    """Quorum numbers whose promise cannot be kept."""

    code = "policy_refused"


class RangeNotSatisfiable(DynafsError):
    """No byte of the asked ranges exists in a file of `size_bytes`."""

    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"no byte of the asked range exists: the file has {size_bytes} bytes", size_bytes=size_bytes)
        self.size_bytes = size_bytes


class PreconditionFailed(DynafsError):
    """A condition in `field` does not hold for the file, whose `etag` it is; nothing was sent."""

    code = "precondition_failed"

    def __init__(self, field: str, etag: str) -> None:
        super().__init__(f'{field}: the condition does not hold; the ETag is "{etag}"', field=field, etag=etag)


class DigestMismatch(DynafsError):
    """The body does not hash to what the client announced in `field`; nothing was stored."""

    code = "digest_mismatch"

    def __init__(self, field: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{field}: the body hashes to {actual}, not {expected}; nothing was stored",
            field=field, expected=expected, actual=actual,
        )  # fmt: skip


class BodyIncomplete(DynafsError):
    """The client went away, or its body broke off or was malformed; nothing was made visible."""

    code = "body_incomplete"


class BodyTooSlow(BodyIncomplete):
    """The client sent its body below the least rate; nothing was made visible."""

    code = "body_too_slow"
    retryable = True


class NotFound(DynafsError):
    """R owners agree that it does not exist."""

    code = "not_found"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} not found: {name}", what=what, name=name)


class BucketExists(DynafsError):
    """The bucket stands with another policy; a bucket's policy is fixed when it is made."""

    code = "bucket_exists"


class NotSupported(DynafsError):
    """A feature this node does not offer."""

    code = "not_supported"


class Overloaded(DynafsError):
    """A limit of this node is reached; `retry_after_s` is when to try again."""

    code = "overloaded"
    retryable = True

    def __init__(self, what: str, retry_after_s: int = 1) -> None:
        super().__init__(f"{what}; try again in {retry_after_s} s", retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s
