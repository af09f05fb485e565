"""Real nodes under failures, ring changes, upgrades and hostile connections."""
