{"algorithm":"Ed25519","key_id":"793fab2b8a760a0a","signature":"tC6FuvQG0zOUdKXyxYDCEF39ZvV6q1dFTU31S+chZmBV2vsVPm4WCwPPIfHNSBogbQgXW4/adERN5454TZT/AA=="}
