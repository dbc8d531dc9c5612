{"algorithm":"Ed25519","key_id":"d1f0f1ab987571d9","signature":"d4sYTVKHGPXVzzkNatBBts8kOuCVT+Vghz8d/WVC6nvpOvfyn81jJ49MXIIx2T+NtxN5Uvq792ycHM5DVKO0CQ=="}
