{"algorithm":"Ed25519","key_id":"80929425a1cf7259","signature":"n+L9gFa+YMQIFj+HVri+ACezmvLDPHEOIq8f/6W+eXuSmzGTQDFY4XVH7mxDrokyRhHmu1pYomrJ2Onzk+ydAg=="}
