"""The rules for names, zones, weights and addresses that operators and peers give."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import RequestInvalid
from dynafs.ring.names import (
    checked_address,
    checked_label,
    checked_node,
    checked_weight,
    excerpt,
    is_address,
    is_label,
    is_node_name,
)


@pytest.mark.parametrize("name", ["n1", "a", "N-1_x.y", "...", "-", "x" * 63])
def test_names_that_a_node_can_have(name: str) -> None:
    assert checked_node(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "n/9", "n 1", "n1\n", "né", "x" * 64, "\x1b[2J", "n\u202e1", "n%2f9", "\udc80"]
)
def test_names_that_no_node_can_have(name: str) -> None:
    """The refusal can be printed to a terminal and encoded as JSON."""
    with pytest.raises(RequestInvalid, match="is no name of a node; use 1 to 63 of a-z") as caught:
        checked_node(name)
    assert caught.value.message.isprintable()
    caught.value.message.encode()


@pytest.mark.parametrize("zone", ["", " ", " a", "a ", "a\n", "\x1b", "a\u202e", "x" * 65, "\udc80"])
def test_names_that_no_zone_can_have(zone: str) -> None:
    with pytest.raises(RequestInvalid, match=r"zone: .* is no name"):
        checked_label(zone)


@pytest.mark.parametrize("zone", ["default", "rack 1", "zürich/2", "x" * 64])
def test_names_that_a_zone_can_have(zone: str) -> None:
    assert checked_label(zone) == zone


@pytest.mark.parametrize("weight", [0.0, -1.0, 1e-9, 1.1e6, math.nan, math.inf, -math.inf])
def test_weights_are_finite_and_in_their_range(weight: float) -> None:
    with pytest.raises(RequestInvalid, match=r"weight: use a number from 0.001 to 1000000, not"):
        checked_weight(weight)


@pytest.mark.parametrize("address", ["n1:7400", "10.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:80", "a.b-c_d.:9"])
def test_addresses_that_can_be_called(address: str) -> None:
    assert checked_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "", "n1", ":80", "n1:", "n1:0", "n1:65536", "n1:-1", "n1:+1", "n1:1e3", "n1: 80", "n1:٣", "n1:²",
        "n 1:80", "n1\n:80", "::1:80", "[::1:80", "[n1]:80", "[]:80", "a..b:80", ".:80", "x" * 64 + ":80",
        ("x." * 200) + "x:80", "http://n1:80", "n1:80/x", "n1:" + "1" * 5000, "é:80", "\udc80:80",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_called(address: str) -> None:
    with pytest.raises(RequestInvalid, match="is not HOST:PORT or \\[IPv6\\]:PORT, with a port from 1 to 65535"):
        checked_address(address)


@given(st.text())
def test_every_text_is_judged(text: str) -> None:
    """No text makes a rule fail, what an error quotes can be printed, and what passes is harmless where it is used."""
    assert excerpt(text).isprintable()
    if is_node_name(text):
        assert text.isascii()
        assert "/" not in text
    if is_label(text):
        assert text.isprintable()
    if is_address(text):
        # Only that the name is one the resolver takes, whether or not it knows it.
        text.rpartition(":")[0].strip("[]").encode("idna")


@given(st.from_regex(r"[a-z.\[\]:%_-]{1,70}:[0-9]{1,6}", fullmatch=True))
def test_no_address_that_passes_makes_a_resolver_raise_something_else(address: str) -> None:
    if is_address(address):
        address.rpartition(":")[0].encode("idna")
