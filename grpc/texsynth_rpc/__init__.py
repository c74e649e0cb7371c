"""The service: jobs that survive the connection, the client and the server's process, over gRPC.

`server` puts it together; `jobs` and `objects` are what is on the disk; `supervisor` gives jobs to worker processes;
`services` is the gRPC side, `v1` its generated messages. Importing this package imports none of them.
"""
