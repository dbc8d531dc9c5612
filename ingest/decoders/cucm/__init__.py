"""Cisco CUCM: CDR and CMR."""
