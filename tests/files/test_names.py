"""File names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import NameInvalid
from dynafs.files import FileName
from dynafs.files.name import check_key, common_prefix

BUCKETS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)


@given(BUCKETS, PATHS)
def test_key_round_trips(bucket: str, path: str) -> None:
    """A name and its key say the same."""
    name = FileName.parse(bucket, path)
    assert FileName.from_key(name.key) == name


@given(BUCKETS, PATHS)
def test_key_from_elsewhere_is_taken_when_a_file_or_a_bucket_can_have_it(bucket: str, path: str) -> None:
    """Which is so for every key that this product makes."""
    for name in (FileName.parse(bucket, path), FileName.of_bucket(bucket)):
        check_key(name.key)
        assert FileName.from_key(name.key) == name


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"demo",
        b"demo\0",
        b"demo\0a\0b",
        b"demo\0\xfe\xfe",
        b"\0\xfe",
        b"\0",
        b"\0.a",
        b"/\0a",
        b"d\0" + b"x" * 1025,
        b"d\0" + "é".encode() * 513,
    ],
)
def test_key_from_elsewhere_is_refused_when_no_file_can_have_it(key: bytes) -> None:
    """It would be stored under a name that nothing can list, read or delete."""
    with pytest.raises(NameInvalid):
        check_key(key)


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 1025, "é" * 513, "\ud800"])
def test_parse_refuses_paths_that_cannot_be_stored(path: str) -> None:
    """Empty, NUL, more than 1024 bytes and broken UTF-8 are refused, naming the field."""
    with pytest.raises(NameInvalid) as caught:
        FileName.parse("demo", path)
    assert caught.value.evidence["field"] == "path"


@pytest.mark.parametrize("bucket", ["", ".a", "a" * 64, "a/b", "ä", "a b"])
def test_parse_refuses_bucket_names(bucket: str) -> None:
    """Buckets are short and plain."""
    with pytest.raises(NameInvalid) as caught:
        FileName.parse(bucket, "x")
    assert caught.value.evidence["field"] == "bucket"


@pytest.mark.parametrize("path", ["..", "a/../b", "a b", "a%2Fb", "日本", "x" * 1024, "/lead", "trail/"])
def test_parse_takes_any_other_path_as_it_is(path: str) -> None:
    """Paths are names, not instructions: nothing is normalised."""
    assert FileName.parse("demo", path).path == path


@pytest.mark.parametrize(
    ("path", "prefix", "folded"), [("a/b/c", "", "a/"), ("a/b/c", "a/", "a/b/"), ("abc", "", ""), ("a/b", "a/b", "")]
)
def test_common_prefix_folds_behind_the_prefix(path: str, prefix: str, folded: str) -> None:
    """A delimiter folds at its first place behind the prefix."""
    assert common_prefix(path, prefix, "/") == folded
