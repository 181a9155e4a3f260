#!/usr/bin/env python3
"""Whether each crate that can be published has what crates.io shows and asks for."""
import json
import pathlib
import subprocess
import sys

# The oldest rule of crates.io: five keywords of 20 characters at most, beginning with a letter.
MAX_KEYWORDS, MAX_KEYWORD = 5, 20


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def problems(package, versions):
    for field in ("description", "license", "readme", "documentation", "rust_version"):
        if not package[field]:
            yield f"no {field}"
    if not package["categories"]:
        yield "no categories"
    keywords = package["keywords"]
    if not 1 <= len(keywords) <= MAX_KEYWORDS or any(len(k) > MAX_KEYWORD or not k[0].isalpha() for k in keywords):
        yield f"keywords {keywords}"
    files = run("cargo", "package", "--list", "--locked", "--allow-dirty", "-p", package["name"]).split("\n")
    folder = pathlib.Path(package["manifest_path"]).parent
    for name in ("README.md", "LICENSE-APACHE", "LICENSE-MIT"):
        if name not in files:
            yield f"{name} is not packed"
        elif (folder / name).stat().st_size < 500:
            yield f"{name} is no text: a link that was not followed?"
    for dependency in package["dependencies"]:
        path = dependency.get("path")
        if path and dependency["kind"] != "dev" and dependency["name"] not in versions:
            yield f"depends on {dependency['name']}, which is not published"
        if path and dependency["kind"] != "dev" and dependency["req"] == "*":
            yield f"depends on any version of {dependency['name']}"


def main():
    packages = json.loads(run("cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"))["packages"]
    published = [package for package in packages if package["publish"] is None]
    versions = {package["name"]: package["version"] for package in published}
    found = [f"{p['name']}: {problem}" for p in published for problem in problems(p, versions)]
    print("\n".join(found) or f"{len(published)} crates can be published: {', '.join(versions)}")
    return bool(found) or len(published) < 2


sys.exit(main())
