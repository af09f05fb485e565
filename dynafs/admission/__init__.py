"""How much may a node hold for its clients at once?

Problem: bodies that arrive or leave slowly hold memory, and one address could take all of it.

Rule: every byte that is held for a client is counted in a budget (`budget`) before it is held (`reservation`); while a
budget is short, the address that holds least is served first (`sharing`). What gathers for one chunk takes about as
much memory as it has bytes (`gathered`).

Tested by properties, among them that no order of requests can block all of them.
"""
