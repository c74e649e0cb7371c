"""Mip chains and texture metrics; needs no torch."""
