"""Kedro datasets: directories that are either whole or not there."""
