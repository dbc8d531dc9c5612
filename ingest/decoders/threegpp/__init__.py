"""3GPP: files of TS 32.297, records of TS 32.298."""
