"""The peers. Each module has

    load(model, threads, precision) -> Model

where a Model has `inputs` and `outputs` (tensor names), `precision` (what the runtime really computes in, for the
report), `bind(tensors)`, which takes {name: array} and copies or wraps whatever the runtime wants before the clock
runs, `run()`, which is what is timed, and `results()`, {name: array}.
"""
