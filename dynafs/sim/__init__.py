"""A cluster in one process and one seed: deterministic simulation.

Problem: distributed bugs hide in timing. Real processes show them rarely, and never twice.

Rule: nothing here is a model of dynafs. N nodes run their real store (`storage.LocalStore` with its commit threads
and recovery) and their real replication code over the ports, in an event loop whose clock jumps from timer to timer
(`loop`). Only the world below the ports is made up: the platter (`medium`, `disk`) forgets what was not synced, the
network (`network`, `peers`) delays, loses, repeats and reorders what the real codec encoded, clocks (`clock`) are
wrong. Commit threads are greenlets, so a crash can fall between any two operations of the disk. All chance comes from
one seed; `guard` names whoever reaches for real time, threads or randomness; `trace` hashes everything that happens,
and the same seed gives the same hash in every process.

An experiment is data (`plan`: world, clients' steps, faults), so it can be drawn from a seed, replayed and made
smaller (`shrink`). It runs in two parts (`run`): while clients work, anything may break; then all faults are mended,
the nodes must agree by themselves within bounded time, every file is read once more through every node, and `checkers`
weigh what was seen. `scenarios` are experiments with a name and a story; `planting` loads bugs from the source tree
(`tests/sim/mutants`), which must be found.

What it does not simulate: HTTP, TCP and the handshake (contract suites run them for real) and the inside of RocksDB
(its log is assumed to keep a prefix, in order).

Alternatives: fakes of replication prove the fakes; containers under chaos find bugs and cannot replay them. The idea is
FoundationDB's and TigerBeetle's.
"""
