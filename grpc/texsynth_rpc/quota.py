"""How many bytes a tenant may keep."""

from __future__ import annotations

from google.rpc import code_pb2

from texsynth_rpc.failures import Context, refuse
from texsynth_rpc.ledger import Ledger


class Quota:
    """most: bytes of all files of one tenant, what it sent and what its jobs made; 0: as many as the disk takes."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger, self._most = ledger, most

    async def require(self, tenant: str, more: int, context: Context) -> None:
        """End the call with RESOURCE_EXHAUSTED if the tenant has no room for so many bytes more."""
        kept = self._ledger.kept(tenant) if self._most else 0
        if self._most and (kept + more > self._most or kept >= self._most):
            message = f"you keep {kept} of {self._most} bytes; delete jobs that you no longer need"
            await refuse(context, code_pb2.RESOURCE_EXHAUSTED, message, reason="QUOTA_BYTES")
