"""Who is let in: host names, origins, fetch metadata and tokens in every spelling that means the same."""

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from dynafs.config import HttpSettings, is_loopback
from dynafs.errors import DynafsError, OriginRefused, RequestInvalid, Unauthorized
from dynafs.http.access import Gatekeeper, authority_of, origin_form
from dynafs.node import Node

LOCAL = HttpSettings(listen="127.0.0.1:8080", allowed_hosts=("Store.Example",))
PUBLIC = HttpSettings(listen="0.0.0.0:8080", insecure=True, allowed_hosts=("store.example",))
TOKEN = HttpSettings(listen="0.0.0.0:8080", token="s3cret")


def outcome(settings: HttpSettings, host: str | None, method: str = "GET", **headers: str) -> type | None:
    """Return what a request meets: the class of its refusal, or None."""
    try:
        Gatekeeper(settings, ["n1.internal"]).check(method, host, {k.replace("_", "-"): v for k, v in headers.items()})
    except DynafsError as error:
        return type(error)
    return None


@pytest.mark.parametrize("settings", [LOCAL, PUBLIC], ids=["loopback", "insecure"])
def test_without_a_token_only_own_names_and_addresses_pass(settings: HttpSettings) -> None:
    """Names have no case and may end in a dot; an address proves that no foreign name leads here."""
    for host in ("localhost", "LOCALHOST:23080", "localhost.:1", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8080",
                 "10.1.2.3", "[2001:DB8::1]", "store.example", "STORE.example.:80", "n1.internal", None):  # fmt: skip
        assert outcome(settings, host) is None, host
    for host in ("evil.example", "evil.example:9", "localhost.evil.example", "", ":80", "127.0.0.1.evil.example", "::1",
                 "localhost:x", "localhost/", "a@localhost", "[::1", "[localhost]", "127.0.0.1:99999", "x" * 5000,
                 "loc\u212aalhost", "store.example..", "local host"):  # fmt: skip
        assert outcome(settings, host) is OriginRefused, host
    assert outcome(settings, "evil.example:9", Origin="http://evil.example:9") is OriginRefused


def test_origin_is_compared_as_a_place() -> None:
    """Case, a trailing dot, brackets and default ports make no difference; everything else does."""
    for origin, host in (
        ("http://localhost:8080", "LOCALHOST:8080"), ("HTTP://Localhost.:8080", "localhost:8080"),
        ("http://store.example", "store.example:80"), ("http://store.example:80", "store.example"),
        ("https://store.example", "store.example:443"), ("https://store.example", "store.example"),
        ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"),
    ):  # fmt: skip
        assert outcome(LOCAL, host, "PUT", Origin=origin) is None, (origin, host)
    for origin, host in (
        ("null", "localhost"), ("", "localhost"), ("http://", "localhost"), ("localhost", "localhost"),
        ("http://localhost:8081", "localhost:8080"), ("http://store.example:443", "store.example"),
        ("https://store.example", "store.example:80"), ("file://localhost", "localhost"),
        ("http://evil.example", "localhost"), ("http://localhost@evil.example", "localhost"),
        ("http://localhost, http://evil.example", "localhost"), ("http://localhost:8080", None),
    ):  # fmt: skip
        for settings in (LOCAL, PUBLIC, TOKEN):
            refused = outcome(settings, host, "PUT", Origin=origin, Authorization="Bearer s3cret")
            assert refused is OriginRefused, (origin, host)


def test_foreign_pages_may_only_open_a_link() -> None:
    """Images, scripts, frames and fetches of other sites are refused even without an Origin."""
    page = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    for settings in (LOCAL, PUBLIC, TOKEN):
        for site in ("cross-site", "same-site"):
            token = {"Authorization": "Bearer s3cret", "Sec_Fetch_Site": site}
            assert outcome(settings, "localhost", **page, **token) is None
            for method in ("POST", "PUT", "DELETE", "HEAD"):
                assert outcome(settings, "localhost", method, **page, **token) is OriginRefused
            for mode, dest in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe"), ("cors", "empty")):
                refused = outcome(settings, "localhost", Sec_Fetch_Mode=mode, Sec_Fetch_Dest=dest, **token)
                assert refused is OriginRefused
            assert outcome(settings, "localhost", **token) is OriginRefused
        for site in ("same-origin", "none"):
            assert outcome(settings, "localhost", "PUT", Sec_Fetch_Site=site, Authorization="Bearer s3cret") is None


def test_token_needs_its_scheme() -> None:
    """The scheme has no case and any number of spaces follow it; the token alone, or another scheme, is refused."""
    for text in ("Bearer s3cret", "bearer s3cret", "BEARER   s3cret", "bEaReR s3cret "):
        assert outcome(TOKEN, "any.example", Authorization=text) is None, text
    for text in ("s3cret", "Bearer", "Bearer ", "", "Bearers3cret", "Basic s3cret", "Bearer S3cret", "Bearer s3cret x",
                 "Bearer Bearer s3cret", " s3cret", "Bearer\ts3cret", "Bearer s3cret\udcff"):  # fmt: skip
        assert outcome(TOKEN, "any.example", Authorization=text) is Unauthorized, text
    assert outcome(TOKEN, "any.example") is Unauthorized


@given(st.text(max_size=40))
def test_any_host_has_one_form_or_none(text: str) -> None:
    """The canonical form of a host is its own canonical form."""
    found = authority_of(text)
    if found is not None:
        shown = f"[{found.host}]" if ":" in found.host else found.host
        assert authority_of(shown) == found._replace(port=None)
        assert authority_of(text.upper() if text.isascii() else text) is not None


def test_absolute_targets_are_taken_apart() -> None:
    """Authority, path and query, without fragment."""
    for target, parts in {
        "http://h:1/a//b?x=/y": ("h:1", "/a//b?x=/y"), "HTTPS://h": ("h", "/"), "http://h?q": ("h", "/?q"),
        "http://h/a%2F..?#f": ("h", "/a%2F..?"), "http://[::1]:2/#f": ("[::1]:2", "/"),
    }.items():  # fmt: skip
        assert origin_form(target) == parts
    for target in ("http:///x", "http://a@b/", "ftp://h/", "h:80", "http://h:x/", "http://", "javascript://h/"):
        with pytest.raises(RequestInvalid):
            origin_form(target)


def test_loopback_names_have_no_case() -> None:
    """Settings recognise what cannot be reached from elsewhere."""
    for address in ("LOCALHOST:1", "localhost.:1", "Localhost:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1"):
        assert is_loopback(address), address
    for address in ("0.0.0.0:1", "localhost.example:1", "10.0.0.1:1", "[::]:1"):
        assert not is_loopback(address), address


async def test_insecure_node_checks_hosts(make_cluster, session: ClientSession) -> None:
    """A page that had its own domain lead to a node in the same network gets nothing."""
    cluster = make_cluster(count=1, n=1, r=1, w=1)
    node = cluster.nodes["n1"] = Node(cluster.settings("n1", http={"insecure": True, "allowed_hosts": ("nas",)}))
    await node.start()
    for host, status in (("evil.example:9", 403), ("NAS", 200), ("192.168.1.5:8080", 200), ("localhost", 200)):
        headers = {"Host": host, "Origin": f"http://{host}"}
        async with session.get(f"http://127.0.0.1:{node.http_port}/v1/ring", headers=headers) as response:
            assert response.status == status, host
