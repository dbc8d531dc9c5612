"""What makes a record known: identities, their runs and sieve, and the decision on duplicates."""
