{"algorithm":"Ed25519","key_id":"c8d188d86ef92fa6","signature":"t6tspv5fjxQQp6Hm2OILGVMtQex/K6a+Ets9HJoPLPTfRequmOeQjbqG3EwxFyPeGonF/+fSq2c3IcQCON60AA=="}
