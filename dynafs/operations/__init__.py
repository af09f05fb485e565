"""What do operators ask and order?

Problem: an operator has to see what is where, and must not be able to take more nodes away than the others can spare.

Rule: what is counted is counted by looking (`census`, `copies`, `explain`), what nodes report is asked of all of them
(`node_status`), and orders that concern a node are checked against what the others need first (`maintenance`).

Tested with real nodes, and in the simulator against the platters.
"""
