"""How is background work bounded?

Problem: healing, moving and counting take disks, network and processor time from clients.

Rule: everything that goes on in the background is a job (`job`): it works in small steps, between which it can be
paused, hurried, limited and looked at, and it gives way while clients wait longer than without it (`throttle`). Work
that no request waits for runs as a bounded number of tasks (`tasks`); more of it is left to the next one that notices.

Tested in virtual time, and by pausing, limiting and breaking jobs of real nodes.
"""
