"""Input that breaks parsers, for every port of a node."""
