"""An async Python client.

    async with DynafsClient("http://127.0.0.1:8080") as files:
        await files.put("photos", "cat.jpg", Path("cat.jpg"))
        whole = await files.get("photos", "cat.jpg")

It speaks plain HTTP to any one node; the `dynafs` command is built on it. From the second request for a file's contents
on it sends them to owners of the file, where nothing is forwarded; `is_ring_aware=False` keeps it to the one node, or
the proxy, that it was given (see `routing`).

Errors are ServerRefused with the node's code, ServerUnreachable, AnswerUnexpected when something else than a node
answers, SiblingsFound and ContentMismatch when a file is read, SourceChanged when a local one is stored. A write is not
sent again when a node may have received anything of it: whether one that lost its quorum may be repeated is up to the
caller.
"""

from dynafs.client.client import DynafsClient
from dynafs.client.remote_file import RemoteFile
from dynafs.client.source import LocalSource, open_source, open_standard_input

__all__ = ["DynafsClient", "LocalSource", "RemoteFile", "open_source", "open_standard_input"]
