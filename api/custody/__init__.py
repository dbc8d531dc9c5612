"""What takes two custodians: clock, policy, holds, corrections."""
