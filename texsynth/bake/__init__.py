"""Batch baking: a manifest of assets, exemplars and options becomes results, however often it is interrupted."""
