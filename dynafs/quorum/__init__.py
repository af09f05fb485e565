"""WHEN is it done? Pure.

Problem: one request talks to several owners; say at every reply whether it has succeeded, can no longer succeed, or
must wait, and what has to be repaired afterwards.

Rule: a fold per request (riak's `*_core`, etcd's `quorum`). Replies go in one by one, `verdict` is PENDING, MET or
LOST, and repairs come out as data that somebody else executes. Each node counts once, whatever it sends.

Strong mode is the multi-writer register of Attiya, Bar-Noy and Dolev (1995): R + W > N, a write stamps itself above
what R owners know, a read makes sure W owners hold what it returns.

Tested exhaustively for every order of every outcome up to n = 5, against the definition.
"""

from dynafs.quorum.policy import QuorumPolicy, Verdict
from dynafs.quorum.read import QuorumRead
from dynafs.quorum.write import QuorumWrite

__all__ = ["QuorumPolicy", "QuorumRead", "QuorumWrite", "Verdict"]
