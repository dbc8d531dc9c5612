"""Root key, keyring, sealing."""
