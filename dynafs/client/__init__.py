"""An async Python client.

    async with DynafsClient("http://127.0.0.1:8080") as files:
        await files.put("photos", "cat.jpg", Path("cat.jpg"))
        whole = await files.get("photos", "cat.jpg")

It speaks plain HTTP to any one node; the `dynafs` command is built on it. Errors are ServerRefused with the node's
code, ServerUnreachable, AnswerUnexpected when something else than a node answers, SiblingsFound and ContentMismatch
when a file is read, SourceChanged when a local one is stored. Nothing is retried: whether a write that lost its
quorum may be sent again is the caller's to decide.
"""

from dynafs.client.client import DynafsClient
from dynafs.client.remote_file import RemoteFile
from dynafs.client.source import LocalSource, open_source, open_standard_input

__all__ = ["DynafsClient", "LocalSource", "RemoteFile", "open_source", "open_standard_input"]
