"""Address translation: syslog of Juniper and A10, conntrack, IPFIX and NetFlow v9."""
