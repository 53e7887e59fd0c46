"""Talking to SMTP servers: sessions with phases and deadlines, checked addresses, verified TLS."""
