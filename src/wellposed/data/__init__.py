"""Whatever holds rows.

`batches` reads what is in memory or gives batches: arrays, pairs, loaders. `open.open_source` opens files and tables as a `source.Source`,
which is read in `Piece`s: `npy`, `parquet`, `csv_files` (with `csv_dialect`, which says what a number and what a missing entry is) and `arrow`.
"""
