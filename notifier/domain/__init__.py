"""The pure core: no I/O and no clients.

Beside the standard library it imports only itself, pydantic for the event models, and idna for the names of hosts.
`ssl` is there to read a certificate that somebody typed in; it connects to nothing.
"""
