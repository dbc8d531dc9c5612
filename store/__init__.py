"""Keys, parts, catalog, retention, audit log, verification."""
