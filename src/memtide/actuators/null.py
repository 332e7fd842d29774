"""The null twin of every actuator: observe mode is act mode but for the last write."""

from memtide.model.action import Action, Reply, Result

__all__ = ["NullActuator"]


class NullActuator:
    """Sends nothing, and says so."""

    async def apply(self, action: Action) -> Reply:
        """Return what would be answered if nothing were ever sent."""
        del action
        return Reply(result=Result.NOT_SENT)
