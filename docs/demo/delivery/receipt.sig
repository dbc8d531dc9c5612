{"algorithm":"Ed25519","key_id":"658d6843aead9846","signature":"5BGLgwY+009HIVMRQEmSJlP9J+7lBxp0aMyzHNI4lFHs7FOoV6HzHT7CkHM89aOn0S7XrUq6v2AK8IFAtvgrAA=="}
