"""Handover of results to authorities: envelopes, ETSI TS 102 657 and TS 103 120 messages, summaries."""
