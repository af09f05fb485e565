"""dynafs: a Dynamo-style, quorum-replicated file store. Start reading at ARCHITECTURE.md."""

__version__ = "0.1.0"
