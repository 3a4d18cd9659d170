"""The demonstration: `python -m examples.demo`, or `script/demo`, which installs things first."""
