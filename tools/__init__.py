"""What developers run against real nodes, through `tools/dev`: benchmarks, faults, fuzzing. Not part of the package."""
