"""An operator's prompt inside a running node.

Problem: some questions nobody foresaw; the answer is in the process, and it must not be stopped for it. Rule: every
node listens on a Unix socket in its data directory, which only the user that runs the node may open: who can do that
could read its memory anyway. What is typed there runs in the node's event loop, so it sees everything between two
steps, may await anything, and delays everybody while it computes. Alternatives: a debugger stops the process; an HTTP
route would be a way in for whoever has the token.

`prompt` is the node's end, `console` the terminal's. One line of JSON each way: {"source"} and {"output"}.
"""

from dynafs.attach.console import Console, socket_path
from dynafs.attach.prompt import Prompt

__all__ = ["Console", "Prompt", "socket_path"]
