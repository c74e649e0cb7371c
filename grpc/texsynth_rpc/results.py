"""A caller's results as textures, for every service that shows them; what cannot be is refused here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from google.rpc import code_pb2

from texsynth_rpc.failures import Context, not_found, refuse
from texsynth_rpc.gate import Gate
from texsynth_rpc.growing import Growing
from texsynth_rpc.jobs import JobStore, NoSuchJob, Record
from texsynth_rpc.objects import Damaged
from texsynth_rpc.states import State
from texsynth_rpc.texture_index import TextureIndex
from texsynth_rpc.textures import NoBlocks, NoTexture, Parts

Found = TypeVar("Found")


class Results:
    """What the jobs of a call's tenant made."""

    def __init__(self, jobs: JobStore, index: TextureIndex, gate: Gate) -> None:
        self._jobs, self._index, self._gate = jobs, index, gate

    async def job(self, name: str, context: Context) -> Record:
        """A job of the caller that has succeeded."""
        try:
            job = self._jobs.get(self._gate.tenant(context), name)
        except NoSuchJob:
            await not_found(context, f"job {name}")
        if job.state is not State.SUCCEEDED:
            message = f"the job is {job.state.value}; wait until it has succeeded"
            await refuse(context, code_pb2.FAILED_PRECONDITION, message, reason="WRONG_STATE")
        return job

    async def parts(self, name: str, context: Context) -> Parts:
        """The index of such a job's texture, built if this is the first time that anyone asks for it."""
        return await self._found(name, self._index.parts, context)

    async def blocks(self, name: str, context: Context) -> Growing:
        """As `parts`, in GPU blocks, of which at least the mip tails are there."""
        return await self._found(name, self._index.blocks, context)

    async def _found(self, name: str, find: Callable[[str], Awaitable[Found]], context: Context) -> Found:
        await self.job(name, context)
        try:
            return await find(name)
        except NoSuchJob:
            await not_found(context, f"job {name}")
        except NoTexture as error:
            await refuse(context, code_pb2.FAILED_PRECONDITION, str(error), reason="NO_TEXTURE")
        except NoBlocks as error:
            await refuse(context, code_pb2.FAILED_PRECONDITION, str(error), reason="NO_BLOCKS")
        except (Damaged, FileNotFoundError) as error:
            await damaged(error, context)


async def damaged(error: Exception, context: Context) -> NoReturn:
    """DATA_LOSS, for Damaged and for a file that is gone."""
    message = str(error) if isinstance(error, Damaged) else "a file of the result is gone"
    await refuse(context, code_pb2.DATA_LOSS, f"{message}; run texsynth verify --repair", reason="DAMAGED")
