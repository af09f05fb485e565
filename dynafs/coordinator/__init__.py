"""How is one client request carried out at a quorum?

Problem: keep every file a linearizable register and every chunk readable while any minority of its owners is away,
slow or wrong, without a leader.

Rule (strong mode): the node that takes a client's request drives its quorum. A PUT cuts the body into chunks, stores
each at W of its owners, and then commits the record: learn the context from R owners, stamp above it, store at W. Only
an owner commits; a gateway that owns no copy of the record hands the finished version to one. A GET merges what R
owners hold, and before it answers makes sure that W owners hold what it returns. Chunks are immutable and named by
their hash, so any good copy will do. A replica never takes part in decisions: it verifies, merges, stores, and
replies.

Rule (available mode): n nodes that are up stand for the owners, and W of them will do; a fallback that counts keeps
its copy until it is handed over. Versions written side by side lose to the greatest stamp, or stay (`keep-both`) until
a client that has seen them writes again.

Once a record was offered to any node its fate may be unknown, and the error says so; it is never tried again with
another stamp, which could bring it back after a later write.

Tested through real HTTP and sockets on in-process clusters, and with real processes killed under load while a checker
for linearizability reads the history.
"""
