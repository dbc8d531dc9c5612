"""When records go and what keeps them: policy, clock, expiry, erasure, holds, certificates."""
