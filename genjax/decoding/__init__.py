"""Logits processors and searches: functions of a step."""
