"""How a latent is changed by gradients: Muon and its rivals, conflicting gradients, the tangent space."""
