"""Material generation for tests, the demo and training."""
