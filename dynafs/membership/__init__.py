"""Who is up?

Problem: requests should go to nodes that answer, nearest first, without anybody deciding that a node is gone for good.

Rule: gossip (`gossip`, by kinship) shows which nodes seem to be there and where, which makes newcomers known, and has
reads turn away from those in doubt; `introduction` brings nodes together. The members are those of the ring, which
begins with those of the settings. A peer counts as up while proved connections to it stand; connections ask for signs
of life, so a frozen peer counts as down after ping interval plus timeout. Being down changes routing only. What the
ring is, members decide by majority (`ring_consensus`, `ring_register`); nothing is decided because a node is down.
"""

from dynafs.membership.calls import Calls
from dynafs.membership.discovery import Discovery
from dynafs.membership.disk_history import DiskHistory
from dynafs.membership.gossip import Gossip
from dynafs.membership.liveness import Liveness
from dynafs.membership.ring_consensus import RingConsensus
from dynafs.membership.ring_register import RingRegister
from dynafs.membership.self_status import SelfStatus

__all__ = [
    "Calls",
    "Discovery",
    "DiskHistory",
    "Gossip",
    "Liveness",
    "RingConsensus",
    "RingRegister",
    "SelfStatus",
]  # fmt: skip
