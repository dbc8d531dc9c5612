{"algorithm":"Ed25519","key_id":"80929425a1cf7259","signature":"00GMdWZ9kItmg5oxbKfgRrEc72Q8o7fpMYpA7LYEX8TzE3Yv36W9VMhw66GAwqPiLfSTdgzDZe4mxjNE0qbWBw=="}
