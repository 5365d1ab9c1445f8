"""Layer types as tables: what shapes come out, and how they are computed."""
