"""Records at rest: WebDataset tars for pixels, Parquet beside them for annotations, one immutable manifest."""
