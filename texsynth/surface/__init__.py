"""Meshes in UV space: loading, coverage masks, preview rendering, UV seams."""
