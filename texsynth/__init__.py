"""texsynth: restyle and synthesise UV-space PBR textures by diffusion in a latent space."""

import os

__version__ = "0.1.0"

# MKL picks its code path by the alignment of its operands, so the same product can round differently twice in one
# process. Same seed, same bytes needs the strict mode; it is read at MKL's first call.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
