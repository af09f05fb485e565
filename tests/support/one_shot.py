"""HTTP sessions for tests that must count every request."""

import aiohttp


def one_shot_session(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    """Return a session that sends each request once; by default aiohttp repeats a PUT whose connection broke."""
    session = aiohttp.ClientSession(timeout=timeout)
    session._retry_connection = False
    return session
