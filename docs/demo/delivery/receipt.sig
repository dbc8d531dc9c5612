{"algorithm":"Ed25519","key_id":"793fab2b8a760a0a","signature":"JjQOWY+n2ISeILlUoANXDrqj+VHGQSmvkrwjTvMllvEU+OCHhViq6jgCUI86EItqThZ1I2kMNEMf+qS0lM36BQ=="}
