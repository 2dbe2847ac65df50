"""POST /v1/audio/speech/batch, as vLLM-Omni has it: several requests for speech in one, each with a file or an error.

https://docs.vllm.ai/projects/vllm-omni/en/stable/serving/speech_api/. Fields beside `items` are each item's, unless it
has its own.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from starlette.requests import Request

from service.events import EndEvent
from validation.errors import Fault, InvalidInput, WorkerError
from validation.faults import shown
from validation.fields import MAX_INPUTS
from web.answer import JobRequest
from web.openai import EMPTY, KNOWN, SpeechReader, Translate
from web.refusals import OPENAI_NAMES
from web.response_encoders import ignored_header
from web.tts_request import json_body

FORMAT = "wav"  # vLLM-Omni's, where none is named
OF_STREAMS = {"stream", "stream_format"}
READ = (KNOWN | EMPTY) - OF_STREAMS
Json = dict[str, Any]


class BatchReader:
    """Reads requests to /v1/audio/speech/batch. `speech` reads those for one file."""

    def __init__(self, speech: SpeechReader) -> None:
        self._speech = speech

    async def read(self, request: Request) -> JobRequest:
        """Raises: InvalidInput, UnsupportedMediaType, BodyTooLarge, TooSlow."""
        sent = await json_body(request)
        if not isinstance(items := sent.pop("items", None), list) or not 0 < len(items) <= MAX_INPUTS:
            raise InvalidInput.of(Fault("items", f"must be a list of 1 to {MAX_INPUTS} objects"))
        translate = await self._speech.translator()
        common = {name: value for name, value in sent.items() if name in READ}  # each item is read with them
        inputs = await asyncio.to_thread(lambda: [_input(translate, common, item) for item in items])
        raw = {"operation": "batch", "inputs": inputs}
        names = dict.fromkeys([*sent, *(name for item in items if isinstance(item, dict) for name in item)])
        headers = ignored_header([name for name in names if name not in KNOWN - OF_STREAMS])
        return JobRequest(raw, None, headers, translated=True, joined=batch_reply)


def _input(translate: Translate, common: Json, item: object) -> object:
    """The item in the contract's words, or what is wrong with it."""
    if not isinstance(item, dict):
        return InvalidInput.of(Fault("items", f"must be objects (got {shown(item)})"))
    own = {name: value for name, value in item.items() if value is not None and name in READ}
    try:
        raw = translate(common | own, own_format=FORMAT).take_raw()
    except WorkerError as error:
        return error.with_traceback(None)
    assert isinstance(raw, dict)
    return {"delivery": "inline"} | raw


def batch_reply(end: EndEvent) -> bytes:
    """The reply of a `batch` in vLLM-Omni's form. It takes a while: not for the event loop."""
    results = [{"index": index} | _result(own) for index, own in enumerate(end.reply["replies"])]
    counts = {"total": len(results), "succeeded": end.reply["succeeded"], "failed": end.reply["failed"]}
    reply = {"id": f"speech-batch-{uuid.uuid4().hex}", "results": results} | counts
    return json.dumps(reply, ensure_ascii=False).encode()


def _result(own: Json) -> Json:
    if "error" in own:
        return {"status": "error", "audio_data": None, "media_type": None, "error": _message(own)}
    more = {name: own[name] for name in ("audio_url", "words", "captions") if name in own}
    return {"status": "success", "audio_data": own.get("audio"), "media_type": own["mime_type"], "error": None} | more


def _message(own: Json) -> str:
    """The error, with OpenAI's names for our fields."""
    message: str = own["error"]
    for fault in own["details"]:
        name, words = fault["field"], fault["message"]
        message = message.replace(f"{name} {words}", f"{OPENAI_NAMES.get(name, name)} {words}")
    return message
