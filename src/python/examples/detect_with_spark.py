"""Detects in the images of a folder, or of a parquet file or folder, with PySpark, and writes one row for each image as parquet.

    venv/bin/pip install frcnn pyspark pandas pyarrow          and Java 17 or later
    venv/bin/python src/python/examples/detect_with_spark.py model.frcnn photos/ found/ --master 'local[2,4]'

On a cluster it is `spark-submit --files model.frcnn detect_with_spark.py model.frcnn ...`, without --master. Parquet has the columns
path (text) and bytes (a JPEG or PNG file). The images of a worker that dies are given to another, up to four times: each image has
one row in the results, or the run fails. Alone on one machine Spark does so only where the master says how often, as local[2,4] does.
"""

import argparse
import os
from collections.abc import Iterator

import pandas as pd
from pyspark import SparkFiles
from pyspark.sql import SparkSession

import frcnn

# Boxes are x1, y1, x2, y2 in pixels, corners inclusive (edges, if box_width_offset is 0); error says why there are none, of a picture that cannot be read.
FOUND = "path string, boxes array<array<float>>, scores array<float>, names array<string>, error string"


def find(bundle: str, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """One task of a worker: it opens the bundle once, on one thread, and looks at one batch of images after the other."""
    detector = frcnn.Detector(SparkFiles.get(bundle), threads=1)

    def row(path: str, data: bytes) -> tuple:
        try:
            found = detector.detect(bytes(data))
        except frcnn.ImageError as error:
            return path, None, None, None, str(error)
        return path, found.boxes.tolist(), found.scores.tolist(), found.names, None

    for images in batches:
        rows = [row(path, data) for path, data in zip(images["path"], images["bytes"])]
        yield pd.DataFrame(rows, columns=["path", "boxes", "scores", "names", "error"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("found", help="a folder that is not there yet")
    parser.add_argument("--master", help="where Spark runs, unless spark-submit says it")
    parser.add_argument("--tasks", type=int, default=64, help="parts that the images are given out in")
    arguments = parser.parse_args()

    builder = SparkSession.builder.appName("frcnn").config("spark.sql.execution.arrow.maxRecordsPerBatch", 16)
    spark = (builder.master(arguments.master) if arguments.master else builder).getOrCreate()
    spark.sparkContext.addFile(arguments.bundle)
    parquet = os.path.isfile(arguments.images) or any(name.endswith(".parquet") for name in os.listdir(arguments.images))
    images = spark.read.format("parquet" if parquet else "binaryFile").load(arguments.images)
    images = images if parquet else images.withColumnRenamed("content", "bytes")
    name = os.path.basename(arguments.bundle)
    found = images.select("path", "bytes").repartition(arguments.tasks).mapInPandas(lambda batches: find(name, batches), FOUND)
    found.write.parquet(arguments.found)
    spark.stop()


if __name__ == "__main__":
    main()
