"""
An API of Google's without its methods: gRPC and REST, and JSON in between.

Here is how a call is read and an answer written, for any service that brings
its table of methods. What a method does belongs to the service.
"""
