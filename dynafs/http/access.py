"""Which requests are let in: by host name, by the page that made a browser send them, and by token."""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from dynafs.config import HttpSettings, split_address
from dynafs.errors import OriginRefused, RequestInvalid, Unauthorized

#: No host name is longer (RFC 1035 section 2.3.4); with a port and brackets this is ample.
AUTHORITY_SIZE_MAX = 300
DEFAULT_PORTS = {"http": 80, "https": 443}


class Authority(NamedTuple):
    """A host and port in the one form in which two of them can be compared."""

    host: str
    """Lower-case, without brackets and trailing dot; an IP address in its shortest form."""
    port: int | None
    """None: not given, so the default of the scheme."""
    is_ip: bool

    def with_port_of(self, scheme: str) -> tuple[str, int | None]:
        """Return (host, port), the port filled in by the scheme's default."""
        return self.host, self.port if self.port is not None else DEFAULT_PORTS.get(scheme)


def authority_of(text: str) -> Authority | None:
    """Return the canonical form of HOST, HOST:PORT or [IPv6]:PORT, None when it is neither (RFC 9110 section 4.2.3)."""
    return _canonical(text) if len(text) <= AUTHORITY_SIZE_MAX else None


@lru_cache(maxsize=512)
def _canonical(text: str) -> Authority | None:
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")) or ":" not in host:
            return None
        port_text = rest[1:]
    else:
        host, _, port_text = text.partition(":")
    if port_text and not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        return None
    port = int(port_text) if port_text else None
    try:
        return Authority(ipaddress.ip_address(host).compressed, port, is_ip=True)
    except ValueError:
        name = host.lower().removesuffix(".")
        if not name or not name.isascii() or any(one in name for one in "/@[]:\\?# \t"):
            return None
        return Authority(name, port, is_ip=False)


def origin_form(target: str) -> tuple[str, str]:
    """Return (authority, path and query) of a request target in absolute form (RFC 9112 section 3.2.2).

    Raises RequestInvalid for other schemes and for user information, which has no place in a request.
    """
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise RequestInvalid("request target", "use a path, or an absolute http:// or https:// URL")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:].partition("#")[0]
    if authority_of(authority) is None:
        raise RequestInvalid("request target", "the URL names no valid host")
    return authority, path if path.startswith("/") else f"/{path}"


class Gatekeeper:
    """Refuses requests of foreign pages, for foreign host names, and without the token."""

    def __init__(self, settings: HttpSettings, own_names: Iterable[str] = ()) -> None:
        """own_names: host names besides those of `settings` under which operators reach this node."""
        self._token = settings.token.encode()
        listens = [split_address(address)[0] for address in (settings.listen, settings.shared_listen) if address]
        names = [*listens, "localhost", *settings.allowed_hosts, *own_names]
        found = [authority_of(name if name.count(":") < 2 else f"[{name.strip('[]')}]") for name in names]
        self._hosts = {one.host for one in found if one is not None}

    def check(self, method: str, host: str | None, headers: Mapping[str, str]) -> None:
        """Raise Unauthorized or OriginRefused. host: the authority that the request is for, None when it names none."""
        if (site := headers.get("Sec-Fetch-Site")) is not None:
            _refuse_foreign_site(site, method, headers)
        if (origin := headers.get("Origin")) is not None and not _is_same_origin(origin, host or ""):
            raise OriginRefused(
                f"requests of foreign pages are refused (Origin {origin[:200]}, Host {(host or '')[:200]})"
            )
        if self._token:
            self._check_token(headers.get("Authorization"))
        elif host is not None and not self._is_own(host):
            # A page on an attacker's domain can point that domain at this node; the Host header gives it away. An IP
            # address proves that no domain was involved, and browsers never leave the header out.
            raise OriginRefused(f"unknown host {host[:200]!r}; add it to http.allowed_hosts")

    def _is_own(self, host: str) -> bool:
        authority = authority_of(host)
        return authority is not None and (authority.is_ip or authority.host in self._hosts)

    def _check_token(self, authorization: str | None) -> None:
        # The scheme has no case, and any number of spaces may follow it (RFC 9110 section 11.1, 11.4).
        scheme, _, given = (authorization or "").partition(" ")
        is_right = hmac.compare_digest(given.strip(" ").encode("utf-8", "surrogateescape"), self._token)
        if not is_right or scheme.lower() != "bearer":
            raise Unauthorized("send the header Authorization: Bearer TOKEN with this node's http.token")


def _is_same_origin(origin: str, host: str) -> bool:
    """Return whether a page of this origin is one that was served under this host."""
    scheme, _, rest = origin.partition("://")
    scheme = scheme.lower()
    page, own = authority_of(rest), authority_of(host)
    if page is None or own is None or scheme not in DEFAULT_PORTS:
        return False
    return page.with_port_of(scheme) == own.with_port_of(scheme)


def _refuse_foreign_site(site: str, method: str, headers: Mapping[str, str]) -> None:
    """Raise OriginRefused for what another site's page makes a browser fetch, except that it opens a link."""
    if site not in ("cross-site", "same-site"):
        return
    is_navigation = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    if method != "GET" or not is_navigation:
        raise OriginRefused(f"requests of foreign pages are refused (Sec-Fetch-Site {site})")
