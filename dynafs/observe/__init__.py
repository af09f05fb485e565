"""What the node says of itself: one catalogue of log events, one of metrics. Values come from callers."""
