"""From a query to records: partition, part, row group, row."""
