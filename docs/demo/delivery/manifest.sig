{"algorithm":"Ed25519","key_id":"c8d188d86ef92fa6","signature":"sn/VRYrt7SlygyuGY0jH6SteJTerxKW66CZrN5d0PIJtYA751qfiH/3N216dqC9NSQ6XdWpIpYY0zHsIb73NDA=="}
