"""BER: one walk over a buffer, for 3GPP and TAP3."""
