"""How do copies come together, and how does what is not used any more go?

Problem: nodes are away, disks lose bytes, writes stop half way; what is missing must come back without being read, and
what nothing uses must give its space back, without a leader and without losing what is used.

Rule: hints bring what an owner missed (`handoff`); trees of checksums find what differs (`tree_comparison`,
`leaf_exchange`, `anti_entropy`); a walk confirms what is in use (`record_walk`); a scrub reads everything (`scrub`); a
new disk is refilled before it is believed (`refill`). Chunks go when no version uses them, which every node that may
have one has confirmed twice (`garbage_collection`, `upload_lookup`, `last_reference`), tombstones when every owner
holds them (`tombstones`), and dead space with its segments (`compaction`).

Tested in the simulator: after every run all copies are there, nothing else is, and no hint is left.
"""
