{"algorithm":"Ed25519","key_id":"920bd3f7f36456ac","signature":"byI/CUdklmy/IkUbb7tPLdyv76ZZNgfExOXSBe+p+XgDubiAIziA+Ctr+CfNvzEIQ8k17FAHuRJIf3SrJ+WBCg=="}
