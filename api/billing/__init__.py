"""Usage for billing: subscriptions, figures per account, closed periods."""
