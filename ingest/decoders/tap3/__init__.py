"""TAP3: TransferBatch."""
