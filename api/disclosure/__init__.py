"""The guarded road to disclosure."""
