"""texsynth: restyle and synthesise UV-space PBR textures by diffusion in a latent space."""

__version__ = "0.1.0"
