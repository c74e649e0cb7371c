"""The service that drives texsynth over gRPC."""
