"""The composition root: settings → engine, voices → a `Service` that runs jobs.

Here an engine is chosen, and an unexpected exception becomes an error reply.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from service import __version__
from service.bucket import bucket_of_job, bucket_of_settings
from service.events import EndEvent, ErrorEvent, Event
from service.fitness import Health, require_fitness
from service.logs import lines_of
from service.operations import OPERATIONS, clone_of, dispatch
from service.telemetry import CANCELLED, COMPLETED, JobClock, JobStopped, Telemetry
from service.worker import Clone, Worker
from settings import Settings, SettingsError
from tts.engine import Engine
from tts.voices.store import VoiceStore
from validation.aliases import todays_operation
from validation.errors import InternalError, RequestError, ServerError, WorkerError

log = logging.getLogger(__name__)


class Service:
    """Runs jobs. Only conditioned voices and counts are kept from one job to the next."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._health = Health(self._is_fit)
        self.settings, self.telemetry = worker.settings, worker.telemetry
        self.spec, self.made_by = worker.engine.spec, worker.made_by

    @property
    def must_be_replaced(self) -> bool:
        """Whether jobs fail here that would not in a new process."""
        return self._health.must_be_replaced

    def run(
        self,
        job_id: str,
        raw: object,
        *,
        joined: bool,
        clock: JobClock,
        s3_config: object = None,
        clone: Clone | None = None,
        translated: bool = False,
    ) -> Generator[Event]:
        """One job's events; the last is an EndEvent or an ErrorEvent, unless the clock was stopped. Never raises.

        `s3_config` is the bucket that came with the job, in RunPod's form; `clone` the voice of its session, which it
        names "clone"; `translated` an input that came in another contract's words.
        """

        def events() -> Iterator[Event]:
            own = bucket_of_job(s3_config, allow_private=self.settings.allow_private_urls)
            bucket = own or self._worker.bucket
            worker = replace(self._worker, bucket=bucket, clone=clone, translated=translated)
            return dispatch(worker, raw, clock, joined)

        with lines_of(job_id):
            yield from self._run(job_id, operation_of(raw), clock, events)

    def condition(self, job_id: str, raw: Mapping[str, Any], *, clock: JobClock) -> Generator[Event]:
        """A job like `run`'s that conditions the recording in a `tts` input as a session's voice: its end's reply has
        the `clone` and `warnings` about the recording."""

        def events() -> Iterator[Event]:
            clone, warnings = clone_of(self._worker, raw, clock)
            yield EndEvent({"clone": clone, "warnings": warnings})

        with lines_of(job_id):
            yield from self._run(job_id, "clone", clock, events)

    def _run(
        self, job_id: str, operation: str, clock: JobClock, events: Callable[[], Iterator[Event]]
    ) -> Generator[Event]:
        clock.start()
        outcome, facts = CANCELLED, {}
        try:
            with _defects("the worker hit a fault of its own; its log has the details"):
                for event in events():
                    if isinstance(event, EndEvent):
                        event.reply["worker_version"] = __version__
                        outcome, facts = COMPLETED, _facts(event.reply)
                    yield event
        except JobStopped:
            log.info("job %s was stopped", job_id)
        except WorkerError as error:
            outcome = error.code
            if isinstance(error, _Defect):
                log.error("job %s hit a fault of ours", job_id, exc_info=error.__cause__)
            else:
                # A refusal may quote the caller.
                reason = str(error) if isinstance(error, ServerError) else error.in_log()
                log.warning("job %s ended: %s", job_id, reason, exc_info=error.__cause__)
            yield ErrorEvent(_bare(error))
        finally:
            self._health.job_ended(outcome)
            self.telemetry.job_ended(job_id, operation, outcome, clock, facts)

    def ask(self, operation: str) -> dict[str, Any]:
        """The reply of `voices` or `info`, at once and not as a job: it is neither counted nor logged.

        Raises: WorkerError.
        """
        (end,) = OPERATIONS[operation](self._worker, {"operation": operation}, JobClock(), True)
        assert isinstance(end, EndEvent)
        return end.reply | {"worker_version": __version__}

    def warm_up(self) -> None:
        """Load the model and speak a word, so that the first job is as fast as later ones.

        Raises: WorkerError where jobs would fail; a defect is its cause.
        """
        with _defects("start-up failed; the worker's log has the details"):
            require_fitness(self._worker)

    def _is_fit(self) -> bool:
        """Whether this process passes the check that a new one makes at its start."""
        try:
            self.warm_up()
        except RequestError as error:  # the default voice is gone, say, which a new process can't change
            log.warning("several jobs failed; the worker's own check says: %s", error)
        except WorkerError:
            log.exception("several jobs failed, and so does the worker's own check")
            return False
        else:
            log.warning("several jobs failed, but the worker's own check does not: a new process would be no better")
        return True


class _Defect(InternalError):
    """An error whose cause nobody foresaw."""


@contextmanager
def _defects(message: str) -> Iterator[None]:
    """A defect, or what any library raises, becomes a `_Defect` with this message, for a job or a start to end with."""
    try:
        yield
    except (WorkerError, JobStopped):
        raise
    except Exception as exc:
        raise _Defect(message) from exc


def _bare(error: WorkerError) -> WorkerError:
    """The error without its causes and traceback, whose frames hold the input: where a front end raises it again, error
    and frames refer to each other, and the input would stay in memory until the garbage collector runs."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def build(settings: Settings) -> Service:
    """Put a service together; nothing heavy is imported or loaded yet.

    Raises: SettingsError for a voices directory or a voice that is not there, or half a bucket.
    """
    engine = ENGINES[settings.tts_engine](settings)
    store = VoiceStore(
        engine, settings.voices_dir, settings.default_voice, settings.voice_cache_size, settings.max_library_voices
    )
    _check_voices(settings, store, engine.spec.min_reference_s)
    return Service(Worker(settings, engine, store, Telemetry(), bucket_of_settings(settings)))


def _check_voices(settings: Settings, store: VoiceStore, least_s: float) -> None:
    """Fail once, at the start, where each job would fail for lack of its voice."""
    if settings.voices_dir and not settings.voices_dir.is_dir():
        raise SettingsError(f"VOICES_DIR={str(settings.voices_dir)!r}: must be a directory")
    known = store.catalogue() if settings.default_voice or settings.openai_voices else {}
    if settings.default_voice and settings.default_voice not in known:
        raise SettingsError(f"DEFAULT_VOICE={settings.default_voice!r}: must be one of {', '.join(known)}")
    default = known.get(settings.default_voice)
    if default and default.reference_duration_s is not None and default.reference_duration_s <= least_s:
        raise SettingsError(
            f"DEFAULT_VOICE={default.name!r}: {settings.tts_model} needs more than {least_s:g} s of sound"
        )
    if strangers := sorted(set((settings.openai_voices or {}).values()) - {*known, "default"}):
        raise SettingsError(f"OPENAI_VOICES names {', '.join(strangers)}: must be one of {', '.join(known)}")


def operation_of(raw: object) -> str:
    """By today's name, for the log: an unknown one, which may be any text, is "?"."""
    name = todays_operation(raw.get("operation")) if isinstance(raw, Mapping) else None
    if name is None:
        return "tts"
    return name if isinstance(name, str) and name in OPERATIONS else "?"


def _facts(reply: dict[str, Any]) -> dict[str, Any]:
    metrics = reply.get("metrics", {})
    kept = (
        "latency_to_first_chunk",
        "rtf",
        "speech_tokens",
        "total_audio_duration",
        "chunk_count",
        "cold_start",
        "remarks",
    )
    return {name: metrics[name] for name in kept if name in metrics}


def _espeak(settings: Settings) -> Engine:
    from tts.espeak.engine import EspeakEngine

    return EspeakEngine()


def _hibari(settings: Settings) -> Engine:
    from tts.hibari.engine import HibariEngine

    return HibariEngine()


def _chatterbox(settings: Settings) -> Engine:
    from tts.chatterbox.engine import ChatterboxEngine
    from tts.chatterbox.options import LoadOptions

    options = LoadOptions(
        # On a rented GPU machine `auto` must not fall back to the CPU without an error.
        device="cuda" if settings.on_runpod and settings.device == "auto" else settings.device,
        dtype=settings.dtype,
        flow_dtype=settings.flow_dtype,
        flow_steps=settings.flow_steps,
        graphs=settings.cuda_graphs,
        max_tokens=settings.segment_tokens,
        slots=settings.max_concurrency,
        watermark=settings.watermark,
        voice_cache_dir=settings.voice_cache_dir,
        voice_cache_bytes=settings.voice_cache_bytes,
        spec=settings.model,
    )
    return ChatterboxEngine(model_path=settings.model_path, options=options)


ENGINES: dict[str, Callable[[Settings], Engine]] = {
    "chatterbox": _chatterbox,
    "hibari": _hibari,
    "espeak": _espeak,
}
