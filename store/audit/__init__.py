"""RFC 6962 audit log with signed checkpoints."""
