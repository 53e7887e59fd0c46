"""Stored job events become mail bodies: Jinja2 and premailer live here and nowhere else."""
