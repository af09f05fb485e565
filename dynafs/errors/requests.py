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
