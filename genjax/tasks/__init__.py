"""Objectives: networks, algorithm and loss behind the Task contract."""
