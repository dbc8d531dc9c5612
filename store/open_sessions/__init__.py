"""What a switch says before an end exists: durable, searchable, folded into records."""
