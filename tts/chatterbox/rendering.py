"""Speech tokens → samples: the flow and the vocoder of one segment, and their lane, in which all segments meet."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tts.chatterbox.rates import FRAMES_PER_TOKEN
from tts.chatterbox.runtime.host import HostCopy
from tts.chatterbox.runtime.loop import Ask, Lane
from tts.chatterbox.s3gen.solve import Solve
from tts.chatterbox.s3gen.stream import FlowStream
from tts.chatterbox.vocoder.stream import HiftStream

ROWS = 8  # chunks that take a step of the flow together

Work = Generator[Solve, None, Tensor]  # yields what is to be solved before it goes on


class Rendering:
    """One segment's flow and vocoder. Its networks run in the loop's thread."""

    def __init__(self, flow: FlowStream, vocoder: HiftStream) -> None:
        self._flow, self._vocoder = flow, vocoder
        self._codes: list[int] = []  # not handed to the flow yet
        self._received = 0  # with those

    @property
    def missing(self) -> int:
        """How many more codes the next chunk needs."""
        return self._flow.missing - len(self._codes)

    def draw_noise(self, ahead: int = 0) -> None:
        """Draw the noise for the codes that were received and for `ahead` more, so that the loop's thread need not."""
        self._flow.draw_noise(self._received + ahead)
        self._vocoder.draw_noise((self._received + ahead) * FRAMES_PER_TOKEN)

    def receive(self, codes: Sequence[int]) -> bool:
        """Returns whether they complete a chunk, which is then to be rendered."""
        self._codes += codes
        self._received += len(codes)
        self.draw_noise()
        return self.missing <= 0

    def preparing(self) -> Work:
        """Compute what needs no code: in block mode, a voice's prompt. Gives no samples."""
        yield from self._flow.preparing()
        return torch.empty(0)

    def following(self, codes: Callable[[], Sequence[int]]) -> Work:
        """The samples (N,) of the chunk that is complete with these codes, which are there when this is begun."""
        return (yield from self.chunks()) if self.receive(codes()) else torch.empty(0)

    def chunks(self) -> Work:
        """The samples (N,) of the chunks that are complete."""
        codes, self._codes = self._codes, []
        return self._vocoder.push((yield from self._flow.solving(codes)))

    def rest(self) -> Work:
        """The samples (N,) that are left."""
        chunks = yield from self.chunks()
        tail = self._vocoder.push((yield from self._flow.ending()))
        return torch.cat((chunks, tail, self._vocoder.flush()))

    def close(self) -> None:
        self._flow.close()


@dataclass(slots=True, eq=False, kw_only=True)
class RenderAsk(Ask):
    """Its answer is what the work returns, on the host."""

    work: Work
    solve: Solve | None = None  # what the work waits for
    copy: HostCopy | None = None  # of its result


class RenderLane(Lane):
    """A newcomer's beginning, one each turn; else a step of the flow, for the most urgent chunk and for others of its
    shape. The vocoder follows where it was the last step."""

    def drop(self, ask: Ask) -> None:
        super().drop(ask)
        assert isinstance(ask, RenderAsk)
        ask.work.close()  # with what its solution holds

    def launch(self) -> Callable[[], None] | None:
        asks = [ask for ask in self._asks if isinstance(ask, RenderAsk) and not ask.copy]
        asks.sort(key=lambda ask: ask.due_s)
        if fresh := next((ask for ask in asks if not ask.solve), None):
            self._resume(fresh)
            touched = [fresh]
        elif asks:
            touched = self._step(asks)
        else:
            return None
        return partial(self._hand_over, [ask for ask in touched if ask.copy])

    def _step(self, asks: Sequence[RenderAsk]) -> list[RenderAsk]:
        first = asks[0].solve
        assert first
        together = [ask for ask in asks if ask.solve and ask.solve.group is first.group][:ROWS]
        with self.failing(together):
            first.group.advance([ask.solve for ask in together if ask.solve])
            for ask in together:
                if ask.solve and not ask.solve.steps_left:
                    self._resume(ask)
        return together

    def _resume(self, ask: RenderAsk) -> None:
        with self.failing([ask]):
            try:
                ask.solve = next(ask.work)
            except StopIteration as end:
                ask.copy = HostCopy(end.value)

    def _hand_over(self, asks: Sequence[RenderAsk]) -> None:
        for ask in asks:
            if ask in self._asks and ask.copy:
                self.reply(ask, ask.copy.values())
