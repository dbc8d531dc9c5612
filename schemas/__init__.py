"""The canonical record: fields, Arrow shapes, packing, numbers, policy tables. No I/O."""
