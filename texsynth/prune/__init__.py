"""Leaving out work: layers and heads by the entropy of their attention."""
