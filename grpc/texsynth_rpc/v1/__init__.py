"""Messages and stubs of the service, generated from proto/ by grpc/generate.py."""
