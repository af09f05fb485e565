"""Context tokens: only what the cluster issued for a file is taken back, and every token fits into a header."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import Stamp
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.wire.context_token import MAC_SIZE_BYTES, ContextTokens, token_key

TOKENS = ContextTokens(token_key("a secret for tests only", "test"))
KEY = FileName("b", "f").key
TOKEN_BYTES_MAX = 4096

ACTORS = st.text(min_size=1, max_size=40)
CONTEXTS = st.dictionaries(ACTORS, st.integers(0, 2**63 - 1), max_size=200)


def version(time: int, actor: str) -> Version:
    return Version(Stamp(time, actor), VersionKind.FILE, etag=f"{time}{actor}", keeps_both=True)


@given(CONTEXTS, st.lists(st.tuples(st.integers(0, 2**63 - 1), ACTORS), max_size=40, unique=True))
def test_token_gives_back_a_part_of_the_context_with_all_that_stands(context, stamps) -> None:
    """Every time in it is the record's own; the actors of standing versions are never left out for others."""
    record = Record.of(context, [version(*stamp) for stamp in stamps])
    text = TOKENS.issue(KEY, record)
    seen = TOKENS.read(KEY, text)
    assert len(text) <= TOKEN_BYTES_MAX
    assert seen is not None
    assert seen.items() <= record.context.items()
    standing = {one.stamp.actor for one in record.versions}
    assert standing <= seen.keys() or seen.keys() <= standing or len(text) > TOKEN_BYTES_MAX - 400


def test_token_of_a_small_record_has_its_whole_context() -> None:
    """A replica that is behind must not keep what the reader knows to be replaced."""
    context = {f"n{number}-{number:016x}": 2**62 + number for number in range(60)}
    record = Record.of(context, [version(2**62 + 99, "n1-0000000000000001")])
    assert TOKENS.read(KEY, TOKENS.issue(KEY, record)) == record.context


def test_token_stays_small_and_keeps_what_a_write_needs() -> None:
    """However many actors a record has, and however long their names are: the standing versions are covered."""
    actors = {f"made up {number:0200}": 2**62 - number for number in range(5000)}
    stamps = [Stamp(2**61 + number, f"node{number:03}-0123456789abcdef~{2**61:x}") for number in range(32)]
    record = Record.of(actors, [version(*stamp) for stamp in stamps])
    text = TOKENS.issue(KEY, record)
    seen = TOKENS.read(KEY, text)
    assert seen is not None
    assert len(text) <= TOKEN_BYTES_MAX
    assert all(seen[stamp.actor] == stamp.time for stamp in stamps)


def test_tokens_are_the_same_on_every_node_and_of_one_cluster_only() -> None:
    """The key comes from the cluster's secret and id alone."""
    record = Record.of({}, [version(5, "n1")])
    text = TOKENS.issue(KEY, record)
    assert ContextTokens(token_key("a secret for tests only", "test")).read(KEY, text) == {"n1": 5}
    assert ContextTokens(token_key("a secret for tests only", "other")).read(KEY, text) is None
    assert ContextTokens(token_key("another secret for tests", "test")).read(KEY, text) is None


@pytest.mark.parametrize("key", [FileName("b", "g").key, FileName("c", "f").key, b"", b"b\0"])
def test_token_of_another_file_is_refused(key: bytes) -> None:
    """It says nothing of this one."""
    assert TOKENS.read(key, TOKENS.issue(KEY, Record.of({}, [version(5, "n1")]))) is None


@given(st.data())
def test_altered_token_is_refused(data: st.DataObject) -> None:
    """Any other text is no token, unless it stands for the same bytes."""
    text = TOKENS.issue(KEY, Record.of({}, [version(5, "n1"), version(6, "n2")]))
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="utf-8"))
    altered = data.draw(st.sampled_from([text[:place], text[:place] + letter + text[place + 1 :], text + letter]))
    assert TOKENS.read(KEY, altered) in (None, {"n1": 5, "n2": 6})
    if TOKENS.read(KEY, altered) is not None:
        assert decoded(altered) == decoded(text)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("context", [{"n1": 5}, {"n1": -5}, {"n1": 2**63}, {"n1": 2**64 - 1}, {}, {"n" * 20_000: 5}])
@pytest.mark.parametrize("has_mac", [True, False])
def test_context_that_a_client_made_up_is_refused(context: dict[str, int], has_mac: bool) -> None:
    """Also in the form of a token, and whatever its times are."""
    packed = msgspec.msgpack.encode(context)
    token = b"\x01" + bytes(MAC_SIZE_BYTES) + packed if has_mac else packed
    assert TOKENS.read(KEY, base64.urlsafe_b64encode(token).decode()) is None


@given(st.text())
def test_garbage_is_refused(text: str) -> None:
    """Without an exception."""
    assert TOKENS.read(KEY, text) is None
