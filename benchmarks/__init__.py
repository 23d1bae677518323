"""What Freshet costs, measured: `python -m benchmarks NAME` writes `benchmarks/results/NAME.json`."""
