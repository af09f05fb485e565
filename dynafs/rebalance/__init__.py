"""How does data follow a new ring?

Problem: owners change while clients read and write.

Rule: the ring moves in steps that members decide (`rebalancer`). New owners pull what they will own from enough present
ones (`partition_pull`); reads and writes need quorums of both while it moves; the policies in use say how many are
enough (`policy_survey`).

Tested in the simulator with nodes that die in every step, and with real nodes under load.
"""
