"""An async Python client.

    async with DynafsClient("http://127.0.0.1:8080") as files:
        await files.put("photos", "cat.jpg", Path("cat.jpg"))
        whole = await files.get("photos", "cat.jpg")

It speaks plain HTTP to any one node; the `dynafs` command is built on it. Errors are ServerRefused with the node's
code, or ServerUnreachable. Nothing is retried: whether a write that lost its quorum may be sent again is the caller's
to know.
"""

from dynafs.client.client import DynafsClient, RemoteFile

__all__ = ["DynafsClient", "RemoteFile"]
