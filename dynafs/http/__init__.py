"""HTTP: files, metadata, chunks, listings, health. The only place where errors become status codes.

Problem: serve any name and any size with constant memory, refuse what is malformed or unauthorised before it costs
anything, and stay out of the way of small requests.

Rule: aiohttp's low-level server hands each request to one `Router`, which works on the raw path (names may hold "..",
"%2F" or spaces, and must not be normalised). One module per resource; each handler parses, calls replication,
renders. Bodies stream both ways; a download that cannot be finished cuts the connection, so a short body is never
taken for a whole one.

A connection costs little until it has a request, and the number of connections, their headers and their descriptors
are bounded (`docs/operating/limits.md`).

Alternatives: aiohttp's Application normalises paths and costs a third of a small request's time in routing and
middlewares.

Tested against real nodes over loopback with aiohttp's client, curl, and raw sockets for what no client would send.
"""

from dynafs.http.descriptors import take_descriptors
from dynafs.http.server import HttpServer

__all__ = ["HttpServer", "take_descriptors"]
