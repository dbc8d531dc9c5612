"""Asterisk: CDR by cdr_csv, cdr_custom and exports, and CEL."""
