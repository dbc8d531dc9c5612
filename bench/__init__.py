"""Workloads, generators, measurement, report."""
