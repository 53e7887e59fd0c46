"""Coverage-guided fuzzing of what strangers send us: `make fuzz SECONDS=60` (atheris)."""
