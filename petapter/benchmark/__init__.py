"""Benchmarks: data sets x backbones x methods x sizes x samples x seeds, resumable, with a report."""
