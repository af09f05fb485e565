"""The `dynafs` command: nodes (`serve`, `dev`), files (`put`, `get`, `ls`, `stat`, `rm`), the ring, the disk.

Exit codes: 0 done, 1 not found or refused, 2 wrong usage or unreachable. Tables and progress bars go to a terminal;
`--json` prints one JSON document to standard output and nothing else there.
"""
