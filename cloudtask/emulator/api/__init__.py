"""The API as clients see it: methods, gRPC, REST."""
