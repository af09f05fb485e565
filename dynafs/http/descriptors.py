"""File descriptors: as many as the node may have, and enough of them kept from clients for everything else."""

import resource
import sys

from dynafs.config import Settings
from dynafs.errors import ConfigError

#: More is never asked for: a process that walks over all of its descriptors would take long.
RAISED_MAX = 1 << 17
#: Segments kept open for reading, RocksDB's tables and logs, and files that are being opened.
STORE_COUNT = 1024
#: Lanes to and from one peer, and gossip with it.
PER_PEER_COUNT = 8
#: Nodes that are counted at least: a cluster may grow while this one runs.
NODE_COUNT_MIN = 16
#: Listening sockets, standard streams, event loop, prompt, and connections that are being refused.
OTHER_COUNT = 128


def take_descriptors(settings: Settings) -> int:
    """Raise the process's soft limit; return the first descriptor number that clients may not have.

    Raises ConfigError when `http.connections_max` and what else the node needs do not fit under the hard limit.
    """
    soft, hard = (
        sys.maxsize if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    node_count = max(NODE_COUNT_MIN, len(settings.cluster.members))
    reserve = STORE_COUNT + OTHER_COUNT + PER_PEER_COUNT * node_count
    wanted = settings.http.connections_max + reserve
    limit = max(soft, min(hard, max(wanted, RAISED_MAX)))
    if wanted > limit:
        problem = (
            f"http.connections_max: {settings.http.connections_max} connections, the store and {node_count} nodes need "
            f"{wanted} file descriptors, but the hard limit is {limit}; raise it (ulimit -Hn, LimitNOFILE= of systemd, "
            f"--ulimit nofile= of docker) or use at most {max(0, limit - reserve)}"
        )
        raise ConfigError([problem])
    if limit > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return limit - reserve
