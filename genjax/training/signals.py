"""SIGTERM and SIGINT: finish the step, save, leave."""


class StopSignal:
    """Within the context, SIGTERM and a first SIGINT set a flag; a second SIGINT raises KeyboardInterrupt."""

    def stop_after(self, step: int) -> bool:
        """True when all processes have agreed to stop after `step`. Call it after every step, on every process."""

    @property
    def name(self) -> str:
        """What asked: "SIGTERM", "SIGINT", or ""."""
        return ""
