"""Denoisers: one interface and its kinds, and the latents they work in."""
