"""The HTTP server as one ASGI application: its routes, middleware and error handlers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from service import __version__
from settings import Settings
from validation.errors import InvalidInput, WorkerError
from web import devnen
from web import documents as docs
from web.access import ApiKeyMiddleware, RequestIdMiddleware, SameOriginMiddleware
from web.answer import Answer
from web.cartesia import add_cartesia
from web.elevenlabs import add_elevenlabs
from web.elevenlabs_requests import model_objects, voice_object
from web.jobs import Jobs
from web.limits import BodyLimit
from web.openai import SpeechReader, openai_models, openai_voices
from web.openai_batch import BatchReader
from web.page_files import STATIC, page_routes
from web.readiness import Readiness, Stage
from web.refusals import MethodNotAllowed, NotFound, error_response, refuse
from web.tts_request import read, read_conversion
from web.websocket import TtsWebSocket

OPEN_PATHS = frozenset({"/ping", "/", "/favicon.ico"})
LISTS = frozenset({"/v1", "/v1/", "/v1/models", "/v1/audio/models", "/v1/audio/voices"})  # `open_lists`
EXPOSED = ("X-Request-Id", "X-Format", "X-Sample-Rate", "X-Seed", "X-Voice", "X-Ignored-Fields", "Retry-After")


def application(jobs: Jobs, settings: Settings | None = None) -> FastAPI:
    """All routes. It runs in the event loop of `jobs`. `settings` are for who may ask, and the page; the service's if
    None."""
    settings = settings or jobs.service.settings
    app = FastAPI(
        title="Chatterbox worker",
        version=__version__,
        docs_url=None,  # they load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # it would redirect to http:// behind a proxy that ends TLS
        middleware=_middleware(settings, jobs),
    )
    app.add_exception_handler(WorkerError, _refused)  # type: ignore[arg-type]  # of both kinds
    app.add_exception_handler(HTTPException, _refused_by_starlette)
    _add_speech(app, jobs)
    _add_lists(app, jobs)
    add_cartesia(app, jobs)
    add_elevenlabs(app, jobs)
    _add_watch(app, jobs)
    if settings.serve_page:
        app.router.routes.extend(page_routes())
    return app


def _middleware(settings: Settings, jobs: Jobs) -> list[Middleware]:
    """Outermost first."""
    stack = [Middleware(RequestIdMiddleware, metrics=jobs.metrics)]
    if settings.cors_origins:
        how: dict[str, Any] = {"allow_methods": ["*"], "allow_headers": ["*"], "expose_headers": EXPOSED}
        stack.append(Middleware(CORSMiddleware, allow_origins=settings.cors_origins, **how))
    if settings.api_keys:
        open_under = f"{STATIC}/" if settings.serve_page else "\0"
        open_paths = OPEN_PATHS | (LISTS if settings.open_lists else frozenset())
        stack.append(Middleware(ApiKeyMiddleware, keys=settings.api_keys, open_paths=open_paths, open_under=open_under))
    else:  # without a key other sites' pages could send forms and open WebSockets
        stack.append(Middleware(SameOriginMiddleware, allowed=settings.cors_origins or ()))
    return [*stack, Middleware(BodyLimit, budget=jobs.input_budget)]


# --- addresses ----------------------------------------------------------------------------------------------------


def _add_speech(app: FastAPI, jobs: Jobs) -> None:
    speech = SpeechReader(jobs)

    @app.post(
        "/tts",
        response_class=Response,
        responses=docs.speech_answers(docs.REPLY, docs.ERROR),
        openapi_extra=docs.body(docs.JOB_EXAMPLES, docs.JOB, docs.FORM, docs.FORM_EXAMPLES),
        summary="One job of the contract; `Accept` decides how its sound comes",
    )
    async def _tts() -> Answer:
        return Answer(jobs, partial(read, jobs))

    @app.post(
        "/convert",
        response_class=Response,
        responses=docs.speech_answers(docs.REPLY, docs.ERROR),
        openapi_extra=docs.body(docs.CONVERT_EXAMPLES, docs.CONVERT, docs.CONVERT_FORM),
        summary="A recording in another voice; `Accept` decides how its sound comes",
    )
    async def _convert() -> Answer:
        return Answer(jobs, read_conversion)

    @app.post(
        "/v1/audio/speech",
        response_class=Response,
        responses=docs.speech_answers(docs.TIMED, docs.OPENAI_ERROR),
        openapi_extra=docs.body(docs.SPEECH_EXAMPLES, docs.SPEECH),
        summary="OpenAI's speech endpoint",
    )
    async def _speech() -> Answer:
        return Answer(jobs, speech.read)

    @app.post(
        "/v1/audio/speech/batch",
        response_class=Response,
        responses=docs.job_answers("A result for each item.", docs.BATCH_RESULTS, docs.OPENAI_ERROR),
        openapi_extra=docs.body(docs.BATCH_EXAMPLES, docs.SPEECH_BATCH),
        summary="Several files at once, as vLLM-Omni has it",
    )
    async def _batch() -> Answer:
        return Answer(jobs, BatchReader(speech).read)

    @app.websocket("/ws/tts")
    async def _socket(websocket: WebSocket) -> None:
        jobs.require_socket()
        await TtsWebSocket(websocket, jobs).run()


def _add_lists(app: FastAPI, jobs: Jobs) -> None:
    settings = jobs.service.settings
    spec = jobs.service.spec
    known = openai_models(settings.tts_engine, spec.spoken)

    @app.get("/v1", include_in_schema=False)
    @app.get("/v1/", responses=_answers("That OpenAI's addresses are here.", docs.ROOT, docs.OPENAI_ERROR))
    async def _root() -> JSONResponse:
        return JSONResponse({"name": "chatterbox-worker", "version": __version__, "models": [*known]})

    @app.get("/v1/models", responses=_answers("OpenAI's list of models.", docs.MODEL_LIST, docs.OPENAI_ERROR))
    async def _models(request: Request) -> JSONResponse:
        if "xi-api-key" in request.headers:
            return JSONResponse(model_objects(settings.tts_engine, settings.max_text_chars, spec))
        return JSONResponse({"object": "list", "data": list(known.values())})

    one = _answers("One model.", docs.MODEL, docs.OPENAI_ERROR)
    one[404] = docs.answer(docs.PHRASES[404], docs.OPENAI_ERROR)

    @app.get("/v1/models/{name}", responses=one)
    async def _model(name: str) -> JSONResponse:
        if name not in known:
            raise NotFound(f"the models here are {', '.join(known)}")
        return JSONResponse(known[name])

    @app.get("/v1/audio/models", responses=_answers("The models, as Open WebUI asks.", docs.IDS, docs.OPENAI_ERROR))
    async def _speech_models() -> JSONResponse:
        return JSONResponse({"models": [{"id": name, "languages": [*spec.spoken]} for name in known]})

    @app.get("/v1/audio/voices", responses=_answers("Every voice's name.", docs.VOICE_IDS, docs.OPENAI_ERROR))
    async def _speech_voices() -> JSONResponse:
        return JSONResponse({"voices": openai_voices(await jobs.voices(), jobs.mapped_voices)})

    @app.get("/v1/voices", responses=_answers("The predefined voices.", docs.VOICES, docs.OPENAI_ERROR))
    async def _voices() -> JSONResponse:
        listed = await jobs.ask("voices")
        voices = [voice_object(voice) for voice in listed["voices"]]
        return JSONResponse({"default": listed["default"], "voices": voices})

    _add_devnens_lists(app, jobs)

    @app.get("/info", responses=_answers("What this worker is and can do.", docs.INFO, docs.ERROR))
    async def _info() -> JSONResponse:
        return JSONResponse(await jobs.ask("info"))


def _add_devnens_lists(app: FastAPI, jobs: Jobs) -> None:
    """The lists of Chatterbox-TTS-Server."""

    @app.get("/get_predefined_voices", responses=_answers("The voices, as files.", docs.FILES, docs.ERROR))
    async def _predefined() -> JSONResponse:
        return JSONResponse(devnen.predefined_voices((await jobs.ask("voices"))["voices"]))

    @app.get("/get_reference_files", responses=_answers("The library's voices.", docs.STRINGS, docs.ERROR))
    async def _references() -> JSONResponse:
        return JSONResponse(devnen.reference_files((await jobs.ask("voices"))["voices"]))

    @app.get("/api/ui/initial-data", responses=_answers("Both lists and defaults.", docs.INITIAL, docs.ERROR))
    async def _initial_data() -> JSONResponse:
        settings = jobs.service.settings
        return JSONResponse(devnen.initial_data(await jobs.ask("voices"), settings.tts_engine, settings.tts_model))


def _answers(about: str, schema: docs.Json, error: docs.Json) -> docs.Answers:
    return {200: docs.answer(about, schema), 401: docs.answer(docs.PHRASES[401], error)}


def _add_watch(app: FastAPI, jobs: Jobs) -> None:
    health: docs.Answers = {
        200: docs.answer("Warm: it takes work.", docs.HEALTH),
        204: {"description": "Loading."},
        503: docs.answer("Not healthy, with the reason.", docs.HEALTH),
    }

    @app.head("/ping", include_in_schema=False)
    @app.get("/ping", responses=health, summary="Health, by RunPod's rule")
    async def _ping() -> Response:
        return ping(jobs.readiness)

    figures: docs.Answers = {
        200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": docs.STRING}}},
        401: docs.answer(docs.PHRASES[401], docs.ERROR),
    }

    @app.get("/metrics", response_class=Response, responses=figures)
    async def _metrics() -> Response:
        info = await jobs.ask("info")
        is_ready = jobs.readiness.stage is Stage.WARM
        return Response(
            jobs.metrics.text(is_ready=is_ready, voice_cache=info["voice_cache"]), media_type=CONTENT_TYPE_LATEST
        )


def ping(readiness: Readiness) -> Response:
    """204 while loading, 200 when warm, else 503 and why."""
    if readiness.stage is Stage.LOADING:
        return Response(status_code=readiness.status)
    return JSONResponse({"status": readiness.stage.value, "reason": readiness.reason}, readiness.status)


def health_application(readiness: Readiness) -> Callable[..., Any]:
    """/ping alone, for a port of its own."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_ping = scope["type"] == "http" and scope["path"] == "/ping" and scope["method"] in ("GET", "HEAD")
        if is_ping:
            await ping(readiness)(scope, receive, send)
        else:
            await refuse(NotFound("only /ping is here"), scope, receive, send)

    return app


# --- errors -------------------------------------------------------------------------------------------------------


async def _refused(request: Request | WebSocket, error: Exception) -> Response | None:
    """A WebSocket is refused before it was accepted: nothing is raised afterwards."""
    assert isinstance(error, WorkerError)
    request.state.refused = error
    if isinstance(request, WebSocket):
        await refuse(error, request.scope, request.receive, request.send)
        return None
    as_sent = getattr(request.state, "error_response", error_response)  # by the contract that the body was in
    return as_sent(error, request.url.path)


async def _refused_by_starlette(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused: WorkerError = InvalidInput(str(error.detail))
    if error.status_code == 404:
        refused = NotFound("nothing is at this address", error.headers)
    elif error.status_code == 405:
        takes = (error.headers or {}).get("Allow", "another method")
        refused = MethodNotAllowed(f"this address takes {takes}, not {request.method}", error.headers)
    return error_response(refused, request.url.path)
