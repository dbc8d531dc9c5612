"""Everything is derived again and compared: files, retention, the story that the log tells."""
