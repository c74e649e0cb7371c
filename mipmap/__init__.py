"""Mip chains, texture metrics, block formats and the files that hold them; needs no torch."""
