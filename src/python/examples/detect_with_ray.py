"""Detects in the images of a folder, or of a parquet file or folder, with Ray Data, and writes one row for each image as parquet.

    venv/bin/pip install frcnn "ray[data]" pyarrow
    venv/bin/python src/python/examples/detect_with_ray.py model.frcnn photos/ found/ --workers 2

On a cluster start it on a machine of that (`ray job submit -- python ...`); bundle, images and results lie where all its machines find
them. Parquet has the columns path (text) and bytes (a JPEG or PNG file). A worker that dies is replaced, and its images are looked at
again: each image has one row in the results, or the run fails.
"""

import argparse
import os

import pyarrow as pa
import ray.data

import frcnn

FOUND = pa.schema(
    [
        ("path", pa.string()),
        ("boxes", pa.list_(pa.list_(pa.float32()))),  # x1, y1, x2, y2 in pixels, corners inclusive (edges, if box_width_offset is 0)
        ("scores", pa.list_(pa.float32())),
        ("names", pa.list_(pa.string())),
        ("error", pa.string()),  # why there are none, of a picture that cannot be read
    ]
)


class Find:
    """A worker: it opens the bundle once, on one thread, and looks at one batch of images after the other."""

    def __init__(self, bundle: str) -> None:
        self.detector = frcnn.Detector(bundle, threads=1)

    def __call__(self, images: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self.row(image["path"], image["bytes"]) for image in images.to_pylist()], schema=FOUND)

    def row(self, path: str, data: bytes) -> dict:
        try:
            found = self.detector.detect(data)
        except frcnn.ImageError as error:
            return {"path": path, "error": str(error)}
        return {"path": path, "boxes": found.boxes.tolist(), "scores": found.scores.tolist(), "names": found.names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=os.path.abspath)
    parser.add_argument("images", type=os.path.abspath)
    parser.add_argument("found", type=os.path.abspath, help="a folder that is not there yet")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=16, help="images that a worker is given at a time")
    arguments = parser.parse_args()
    if os.path.exists(arguments.found):
        parser.error(f"{arguments.found} is there already")

    if os.path.isfile(arguments.images) or any(name.endswith(".parquet") for name in os.listdir(arguments.images)):
        images = ray.data.read_parquet(arguments.images, columns=["path", "bytes"])
    else:
        images = ray.data.read_binary_files(arguments.images, include_paths=True)
    found = images.map_batches(
        Find,
        fn_constructor_args=(arguments.bundle,),
        batch_format="pyarrow",
        batch_size=arguments.batch,
        concurrency=arguments.workers,
        # A worker keeps one CPU busy. It books half of one: workers that had booked them all would wait for ever for who reads the images.
        num_cpus=0.5,
    )
    found.write_parquet(arguments.found)


if __name__ == "__main__":
    main()
