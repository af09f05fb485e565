"""Who is up?

Problem: requests should go to nodes that answer, nearest first, without anybody deciding that a node is gone for good.

Rule: gossip (`gossip`, by kinship) tells who seems to be there and where, which makes newcomers known, and has reads
turn away from who is doubted; `introduction` brings nodes together. The members are those of the ring, which begins
with those of the settings. A peer counts as up while proved connections to it stand; connections ask for signs of
life, so a frozen peer counts as down after ping interval plus timeout. Being down changes routing only. What the ring
is, members decide by majority (`agreement`); nothing is decided because somebody is down.
"""

from dynafs.membership.agreement import RingKeeper
from dynafs.membership.gossip import Gossip
from dynafs.membership.introduction import Introducer
from dynafs.membership.ring import RingMembership

__all__ = ["Gossip", "Introducer", "RingKeeper", "RingMembership"]
