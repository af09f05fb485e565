"""What does a node reply to its peers?

Problem: a replica must not decide anything on its own, and must not lose or invent what it acknowledged.

Rule: a replica verifies, merges, stores and replies. A write is acknowledged when it is durable; a record is merged
into what is held (`records`), a chunk is stored under the hash of its bytes (`chunks`), references and hints go with
them (`references`, `hints`). The fence (`fence`) refuses requests that go by an older ring, and reads of what a lost
disk may have held. Each component registers the requests that it answers with the node's dispatcher.

Tested through the store's contract, and in the simulator by damaged, repeated and late messages.
"""
