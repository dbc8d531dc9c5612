{"algorithm":"Ed25519","key_id":"658d6843aead9846","signature":"tVOL0G1s6A7OS7zXKNUyW8D9tcDaNZy0CaIbcGl8V23rk+qJlOEOL6l8VfHGYdCuehYgSE5lhmWB266wF+pQAQ=="}
