"""What tests of several directories and tools/ share: ports, clusters, a proxy, pairs of nodes, disks.

Import it as `tests.support`, from everywhere: under a second name its modules would exist twice, each with its own
state.
"""
