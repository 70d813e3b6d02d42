"""Artifacts: signed, versioned, chained `.md` files (plan §4.2). `store` writes and reads them; the rest is rules."""
