"""ElevenLabs' WebSockets: text in pieces in, sound and alignments in JSON out; several contexts on one connection.

    in   {"text": " ", "voice_settings": {…}} opens, {"text": "…"}, {"flush": true}; {"text": ""} keeps the connection,
         or ends it where it has no contexts; with contexts also {"close_context": true} and {"close_socket": true},
         and each but the last names its `context_id`
    out  {"audio", "alignment", "normalizedAlignment", "isFinal": null, "contextId"}, {"isFinal": true, "contextId"},
         {"error", "message", "code", "contextId"}

A context that is closed right after a flush, or before any sound since, speaks what was flushed and ends: ElevenLabs
documents that a flush goes on after a close. Any other close is an interruption, and so is a second one: pipecat and
livekit send a close in both cases.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.alignment import AlignedAudio, CharTime
from service.events import AudioEvent
from service.json_events import base64_text
from service.session import Mark, Take, piece_of_text
from validation.errors import Fault, InvalidInput, RequestError, WorkerError
from validation.faults import shown, type_faults
from web.conversation import Contexts, Conversation
from web.elevenlabs_requests import DEFAULT_FORMAT, Json, alignment_ms, format_fields, sound_fields, speech_fields
from web.jobs import Jobs
from web.json_socket import JsonSocket, close_code, until_first_ends
from web.refusals import elevenlabs_error
from web.response_encoders import ignored_header

log = logging.getLogger(__name__)

AT_ONCE_S = 0.1  # from a flush to a close that was sent together with it
IDLE_S, MOST_IDLE_S = 20, 180  # of `inactivity_timeout`
MAX_NAME_CHARS = 200
KINDS = {"flush", "close_context"}
TYPES = {"flush": bool, "close_context": bool, "close_socket": bool, "voice_settings": dict}
NEVER = float("-inf")
FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a connection's address asks for. `start`: the fields of every context; `in_whole`: times count from the
    context's start, as livekit's plugin takes them; else, as ElevenLabs has it, from the end of the last alignment.
    """

    start: Json
    idle_s: int
    auto_mode: bool
    in_whole: bool
    ignored: list[str]

    @classmethod
    async def read(cls, jobs: Jobs, voice: str, query: Mapping[str, str]) -> Asked:
        """Raises: InvalidInput, UnknownVoice."""
        given: Json = dict(query)
        sound = format_fields(given.pop("output_format", DEFAULT_FORMAT))
        idle_s = _whole_number("inactivity_timeout", given.pop("inactivity_timeout", IDLE_S))
        if not 1 <= idle_s <= MOST_IDLE_S:
            raise InvalidInput.of(Fault("inactivity_timeout", f"must be 1 to {MOST_IDLE_S} (got {idle_s})"))
        auto_mode, in_whole = (_flag(name, given.pop(name, "false")) for name in ("auto_mode", "sync_alignment"))
        if "seed" in given:
            given["seed"] = _whole_number("seed", given["seed"])
        fields, ignored = await speech_fields(jobs, voice, given)
        return cls(fields | sound | {"word_timestamps": True}, idle_s, auto_mode, in_whole, ignored)


def _whole_number(name: str, text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput.of(Fault(name, f"must be a whole number (got {shown(text)})")) from None


def _flag(name: str, text: str) -> bool:
    if text.lower() in FLAGS:
        return FLAGS[text.lower()]
    raise InvalidInput.of(Fault(name, f"must be true or false (got {shown(text)})"))


# --- one connection -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Context:
    """One context that speaks. `sound`: the fields that its first message set."""

    conversation: Conversation
    sink: AlignedSink
    sound: Json
    flushed_s: float = NEVER  # when it was flushed, if no text came since
    is_closed: bool = False  # it speaks the rest

    def is_at_its_end(self) -> bool:
        """Whether a close ends a turn, which is then spoken to its end: livekit's plugin and pipecat flush and close at
        once. A close that comes later, after sound was sent since the flush, is an interruption."""
        is_at_once = time.monotonic() - self.flushed_s <= AT_ONCE_S
        return not self.is_closed and (is_at_once or self.sink.sent_s < self.flushed_s)

    def finish(self) -> None:
        """Speak the rest, then end. Raises: InvalidInput."""
        self.conversation.mark(Mark.END)
        self.is_closed = True


class SpeechSocket:
    """One WebSocket from its handshake to its close."""

    def __init__(self, websocket: WebSocket, jobs: Jobs, asked: Asked, *, has_contexts: bool) -> None:
        self._socket, self._jobs, self._asked = JsonSocket(websocket, asked.idle_s), jobs, asked
        self._has_contexts = has_contexts
        self._contexts = Contexts(jobs, self._socket.id, self._on_error)
        self._known: dict[str, Context] = {}
        self._is_ending = asyncio.Event()

    async def run(self) -> None:
        """Raises nothing but what is a defect."""
        await self._socket.accept(headers=ignored_header(self._asked.ignored))
        try:
            with self._jobs.open_socket():
                try:
                    await until_first_ends(self._read(), self._contexts.until_failed(), self._end())
                finally:
                    await self._contexts.close()
        except WorkerError as error:
            await self._socket.fail(error, _error(error))
        except WebSocketDisconnect:
            log.info("the client left")

    async def _read(self) -> None:
        """Raises: WebSocketDisconnect, TooSlow, Busy, and without contexts InvalidInput."""
        while True:
            await self._read_one()

    async def _read_one(self) -> None:
        """A message is not kept while the next is awaited: it may be large. Raises: as `_read`."""
        try:
            message = await self._socket.message_in_time(lambda: self._contexts.is_busy)
            if not self._is_ending.is_set():
                await self._take({name: value for name, value in message.items() if value is not None})
        except InvalidInput as error:
            if not self._has_contexts:
                raise
            await self._socket.send(_error(error))

    async def _end(self) -> None:
        """Close once all is spoken. Raises: WebSocketDisconnect."""
        await self._is_ending.wait()
        await self._contexts.until_finished()
        await self._socket.close()

    async def _on_error(self, name: str, error: WorkerError) -> None:
        """Raises: WorkerError, where the connection has one context."""
        if not self._has_contexts:
            raise error
        await self._socket.send(_error(error) | {"contextId": name or None})

    # --- messages ------------------------------------------------------------------------------------------------

    async def _take(self, message: Json) -> None:
        """Raises: InvalidInput, Busy, and without contexts RequestError."""
        name = message.get("context_id") if self._has_contexts else None
        if name is not None and (not isinstance(name, str) or len(name) > MAX_NAME_CHARS):
            raise InvalidInput.of(Fault("context_id", f"must be a string of at most {MAX_NAME_CHARS} characters"))
        try:
            if faults := type_faults(message, TYPES):
                raise InvalidInput.of(*faults)
            if self._has_contexts and message.get("close_socket"):
                self._finish_all()
            else:
                await self._obey(name or "", message)
        except RequestError as error:  # the message changed nothing
            await self._on_error(name or "", error)

    async def _obey(self, name: str, message: Json) -> None:
        """Raises: RequestError, Busy."""
        flush, context = message.get("flush"), self._context(name)
        if (text := message.get("text")) is not None:
            text = piece_of_text(text)  # before a context is opened for it
        elif not KINDS & message.keys():
            raise InvalidInput("a message has text, flush, close_context or close_socket")
        if text:
            context = await self._say(name, context, text, message)
        elif text == "" and not self._has_contexts and not flush:
            self._finish_all()
        if flush:
            _flush(name, context)
        if message.get("close_context") and context and self._has_contexts:
            await self._close(name, context)

    def _context(self, name: str) -> Context | None:
        """None for a name that was not opened, is finished, failed or was dropped."""
        context = self._known.get(name)
        return context if context and self._contexts.get(name) is context.conversation else None

    async def _say(self, name: str, context: Context | None, text: str, message: Json) -> Context:
        sound, _ = sound_fields(message.get("voice_settings", {}))
        if context is None:
            context = await self._open(name, sound)
        elif context.is_closed:
            raise InvalidInput("the context is closed; what it was sent is being spoken")
        elif sound and sound != context.sound:
            raise InvalidInput.of(Fault("voice_settings", "may only be in the first message"))
        await context.conversation.push(text)
        if not text.isspace():
            context.flushed_s = NEVER
            if self._asked.auto_mode:
                context.conversation.mark(Mark.FLUSH)
        return context

    async def _open(self, name: str, sound: Json) -> Context:
        named: Json = {"contextId": name or None} if self._has_contexts else {}
        self._known = {each: known for each, known in self._known.items() if self._context(each)}
        sink = AlignedSink(self._socket, named, self._asked.in_whole)
        conversation = await self._contexts.open(name, self._asked.start | sound, lambda _: sink)
        self._known[name] = Context(conversation, sink, sound)
        return self._known[name]

    async def _close(self, name: str, context: Context) -> None:
        """Let it finish, or send nothing more of it."""
        if context.is_at_its_end():
            context.finish()
        else:
            self._contexts.drop(name)
            await context.sink.stop()

    def _finish_all(self) -> None:
        for name, context in self._known.items():
            if self._context(name) and not context.is_closed:
                context.finish()
        self._is_ending.set()


def _flush(name: str, context: Context | None) -> None:
    if context is None:
        raise InvalidInput(f"there is nothing to flush: the context {shown(name)} is not open")
    if not context.is_closed:
        context.conversation.mark(Mark.FLUSH)
        context.flushed_s = time.monotonic()


def _error(error: WorkerError) -> Json:
    named = elevenlabs_error(error)
    return {"message": named["message"], "error": named["status"], "code": close_code(error)}


class AlignedSink:
    """The messages of one context: each piece of sound with the characters that end in it."""

    def __init__(self, socket: JsonSocket, named: Json, in_whole: bool) -> None:
        self._socket, self._named, self._in_whole = socket, named, in_whole
        self._aligned = AlignedAudio("")
        self._zero_ms, self._is_stopped = 0, False
        self.sent_s = NEVER  # when the last message was sent

    async def began(self, take: Take) -> None:
        silence, _ = self._aligned.flush(take.start_s)
        self._aligned = AlignedAudio(f"{take.text} ", take.start_s)  # a space ends each word, the last one, too
        if silence:
            await self._send(silence, [])

    async def audio(self, event: AudioEvent) -> None:
        for piece, chars in self._aligned.push(event):
            await self._send(piece, chars)

    async def ended(self, take: Take) -> None:
        piece, chars = self._aligned.flush(take.end_s, take.last_words)
        if piece or chars:
            await self._send(piece, chars)

    async def flushed(self) -> None:
        """ElevenLabs does not report it."""

    async def finished(self, rest: bytes, report: Json) -> None:
        if rest:
            await self._send_piece(rest, [], 0.0)
        await self._socket.send({"isFinal": True} | self._named)

    async def stop(self) -> None:
        """Say that it is at an end; a piece that is just arriving is not sent any more."""
        self._is_stopped = True
        await self._socket.send({"isFinal": True} | self._named)

    async def _send(self, piece: AudioEvent | None, chars: list[CharTime]) -> None:
        await self._send_piece(piece.data if piece else b"", chars, piece.duration_s if piece else 0.0)

    async def _send_piece(self, data: bytes, chars: list[CharTime], sound_s: float) -> None:
        alignment = alignment_ms(chars, 0 if self._in_whole else self._zero_ms)
        self._zero_ms = round(1000 * chars[-1].end_s) if chars else self._zero_ms
        message = {"audio": base64_text(data), "isFinal": None, "alignment": alignment}
        if not self._is_stopped:
            self.sent_s = time.monotonic()
            await self._socket.send(message | {"normalizedAlignment": alignment} | self._named, sound_s)
