"""pipecat's services at their defaults inside a running pipeline that plays in real time, as a voice agent does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import recipes
from conftest import Worker
from front import front
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner
from speech import PLAIN, Sound, are_timed, is_spoken, pcm

FIRST, SECOND = "Hello there, my friend.", "This sentence costs $5, and it ends here."
LONG = "Somebody talks and talks about one thing or another, without an end in sight. " * 6
MINUTES = LONG * 9  # what the engine needs seconds for
A_FEW_BYTES = 1000  # as much as the message that a context is at its end
WAITS_S = 20.0


SERVICES = ["OpenAITTSService", "ElevenLabsTTSService", "ElevenLabsHttpTTSService", "CartesiaTTSService"]
TIMED = SERVICES[1:]
SOCKETS = ["ElevenLabsTTSService", "CartesiaTTSService"]


class Heard(FrameProcessor):
    """What leaves the service, or what leaves the loudspeaker."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def sound(self) -> Sound:
        return pcm(b"".join(frame.audio for frame in self.frames if isinstance(frame, TTSAudioRawFrame)))

    def words(self) -> list[str]:
        return [frame.text for frame in self.frames if isinstance(frame, TTSTextFrame)]

    def times(self) -> list[int | None]:
        return [frame.pts for frame in self.frames if isinstance(frame, TTSTextFrame)]


class Loudspeaker(BaseOutputTransport):
    """Plays in real time; `played` is when each piece began, and what it was."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_end_silence_secs=0))
        self.played: list[tuple[float, bytes]] = []
        self._free_at = 0.0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        now = time.monotonic()
        if any(frame.audio):
            self.played.append((now, frame.audio))
        self._free_at = max(self._free_at, now) + frame.num_frames / frame.sample_rate
        await asyncio.sleep(self._free_at - now)
        return True


@dataclass(repr=False)  # pytest writes what fails, and all frames of a speech take it minutes
class Bot:
    worker: PipelineWorker
    asked: Heard  # what the service is asked, and its errors, which go upstream
    made: Heard  # by the service
    speaker: Loudspeaker
    told: Heard  # by the loudspeaker: words as they are played

    async def say(self, text: str) -> None:
        await self.worker.queue_frame(TTSSpeakFrame(text))

    async def reply(self, pieces: Sequence[str]) -> None:
        """As a language model writes."""
        frames = [LLMFullResponseStartFrame(), *(LLMTextFrame(piece) for piece in pieces), LLMFullResponseEndFrame()]
        await self.worker.queue_frames(frames)

    async def until(self, condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + WAITS_S
        while not condition():
            self.made_no_error()
            assert time.monotonic() < ends, [type(frame).__name__ for frame in self.made.frames][-20:]
            await asyncio.sleep(0.01)

    def made_no_error(self) -> None:
        assert [frame.error for frame in self.asked.frames if isinstance(frame, ErrorFrame)] == []

    async def until_it_has_spoken(self, turns: int = 1) -> None:
        await self.until(lambda: sum(isinstance(frame, TTSStoppedFrame) for frame in self.made.frames) == turns)


@asynccontextmanager
async def bot(service: str, url: str) -> AsyncIterator[Bot]:
    async with aiohttp.ClientSession() as session:
        tts = recipes.run("pipecat", f" {service}(", url, session=session)["tts"]
        async with running(tts) as speaking:
            yield speaking


@asynccontextmanager
async def running(tts: TTSService) -> AsyncIterator[Bot]:
    asked, made, speaker, told = Heard(), Heard(), Loudspeaker(), Heard()
    worker = PipelineWorker(Pipeline([asked, tts, made, speaker, told]), enable_rtvi=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    serving = asyncio.create_task(runner.run())
    speaking = Bot(worker, asked, made, speaker, told)
    try:
        yield speaking
        await worker.queue_frame(EndFrame())
        await asyncio.wait_for(serving, WAITS_S)
        speaking.made_no_error()
    finally:
        await worker.cancel()


@pytest.mark.parametrize("service", SERVICES)
def test_a_sentence_is_spoken(server: Worker, service: str) -> None:
    async def run() -> Sound:
        async with bot(service, server.url) as speaking:
            await speaking.say(FIRST)
            await speaking.until_it_has_spoken()
            return speaking.made.sound()

    is_spoken(asyncio.run(run()), server.reference(FIRST))


@pytest.mark.parametrize("service", TIMED)
def test_the_words_of_a_reply_have_their_times(server: Worker, service: str) -> None:
    """Two sentences of one turn, as a language model writes them."""

    async def run() -> Heard:
        async with bot(service, server.url) as speaking:
            await speaking.reply([f"{word} " for word in f"{FIRST} {SECOND}".split(" ")])
            await speaking.until_it_has_spoken()
            return speaking.made

    heard, reference = asyncio.run(run()), server.reference(FIRST) + server.reference(SECOND)
    is_spoken(heard.sound(), reference)
    times = [stamp for stamp in heard.times() if stamp]
    assert len(times) == len(heard.words())
    began = times[0] / 1e9 - reference.starts_s[0]
    are_timed(heard.words(), [stamp / 1e9 - began for stamp in times], reference)


@pytest.mark.parametrize(
    ("service", "is_whole"), [*((each, True) for each in SERVICES), *((each, False) for each in SOCKETS)]
)
def test_an_interruption_in_mid_word_stops_the_sound_and_the_next_sentence_is_whole(
    server: Worker, service: str, is_whole: bool
) -> None:
    """The loudspeaker plays in real time. Where words have times, those told by then are those that were heard. A text
    that is not whole is one that the language model is still writing."""
    reference = server.reference(LONG)
    middle_s = (reference.starts_s[4] + reference.starts_s[5]) / 2

    async def run() -> tuple[list[str], float, Sound]:
        async with bot(service, server.url) as speaking:
            if is_whole:
                await speaking.say(LONG)
            else:
                await speaking.worker.queue_frames([LLMFullResponseStartFrame(), LLMTextFrame(LONG)])
            await speaking.until(lambda: bool(speaking.speaker.played))
            await asyncio.sleep(speaking.speaker.played[0][0] + middle_s - time.monotonic())
            told = speaking.told.words()
            await speaking.worker.queue_frame(InterruptionFrame())
            interrupted = time.monotonic()
            await asyncio.sleep(0.4)
            stopped_after_s = speaking.speaker.played[-1][0] - interrupted
            speaking.made.frames.clear()
            await speaking.say(SECOND)
            await speaking.until_it_has_spoken()
            return told, stopped_after_s, speaking.made.sound()

    told, stopped_after_s, following = asyncio.run(run())
    assert stopped_after_s < 0.1
    is_spoken(following, server.reference(SECOND))
    if service in TIMED:
        assert [word.strip(PLAIN) for word in told] == list(reference.words[:5])


@pytest.mark.parametrize("service", SOCKETS)
def test_an_interruption_reaches_the_server(server: Worker, service: str) -> None:
    """Of minutes that are still being made nothing more is sent after 100 ms, and the engine is free."""
    arrived: list[tuple[float, int]] = []

    async def run(port: int) -> float:
        async with bot(service, f"http://127.0.0.1:{port}") as speaking:
            await speaking.say(MINUTES)
            await speaking.until(lambda: bool(speaking.speaker.played))
            assert server.metric("tts_jobs_running") == 1
            await speaking.worker.queue_frame(InterruptionFrame())
            interrupted = time.monotonic()
            await asyncio.sleep(0.6)
            assert server.metric("tts_jobs_running") == 0
            await speaking.say(SECOND)
            await speaking.until_it_has_spoken()
            return interrupted

    with front(server.url, seen=lambda count: arrived.append((time.monotonic(), count))) as port:
        interrupted = asyncio.run(run(port))
    late = [count for at, count in arrived if interrupted + 0.1 < at < interrupted + 0.6]
    assert sum(late) < A_FEW_BYTES
