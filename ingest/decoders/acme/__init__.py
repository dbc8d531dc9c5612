"""Oracle (Acme) SBC: CSV by field map."""
