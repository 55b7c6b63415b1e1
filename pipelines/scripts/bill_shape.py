"""Adds the shape of the bill to every penguin: Parquet in, Parquet out."""

import json
import os
import sys

import polars

source, target = sys.argv[1:]
penguins = polars.read_parquet(source)
shaped = penguins.with_columns(
    (polars.col("bill_length_mm") / polars.col("bill_depth_mm")).alias("bill_ratio")
)
shaped.write_parquet(target)

# Anything a program writes here, one JSON object a line, is recorded with the run.
with open(os.environ["WICK_METRICS"], "a", encoding="utf-8") as metrics:
    print(json.dumps({"metric": "penguins", "value": shaped.height}), file=metrics)
    print(json.dumps({"metric": "mean_bill_ratio", "value": shaped["bill_ratio"].mean()}), file=metrics)
