"""
The emulator as an identity provider: its key and the tokens it signs.

Each service asks here for the tokens of what it sends, and the HTTP port
publishes the public keys. Which request carries a token belongs to the
service.
"""
