"""Whatever holds rows: arrays, batches, data frames, files; read in pieces, by `open.open_source` or `batches`."""
