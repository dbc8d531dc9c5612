"""What the metrics say."""
