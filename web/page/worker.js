/**
 * The worker's HTTP API: what it offers, its voices, a text spoken or a recording converted as events, a file.
 *
 * Speech is read as `text/event-stream` with raw PCM, not as the bytes of a file: the stream also carries the metrics
 * and an error's message. Base64 costs 16 kB per second of sound.
 */

/**
 * What the worker sends, as far as the page reads it; docs/API.md describes all of it.
 *
 * @typedef {{field: string, message: string}} Fault what is wrong with one field of a request
 * @typedef {{error: string | {message: string}, details?: Fault[]}} ErrorReply under /v1/ `error` has OpenAI's shape
 * @typedef {{text: string, start: number, end: number}} Span a segment or a word; seconds
 * @typedef {{audio: string, sample_rate: number, words?: Span[]}} AudioPiece base64 of 16-bit PCM; Hz
 * @typedef {{rtf: number, latency_to_first_chunk: number}} Metrics seconds
 *
 * @typedef {object} Reply
 * @property {number} seed
 * @property {{decode_mode: string}} parameters
 * @property {Span[]} [segments] of a text
 * @property {Span[]} [words] if they were asked for
 * @property {string[]} warnings
 * @property {Metrics} metrics
 * @property {string} [spoken_text] where it differs from the text sent
 * @property {string} [audio] base64 of the file; not in a stream
 * @property {string} mime_type
 *
 * @typedef {{name: "audio", data: AudioPiece} | {name: "end", data: Reply}} SpeechEvent
 * @typedef {SpeechEvent | {name: "error", data: ErrorReply}} StreamEvent
 *
 * @typedef {"max_text_chars" | "max_reference_bytes" | "min_reference_s" | "max_source_bytes" | "max_source_s"} Limits
 *
 * @typedef {object} Info
 * @property {string} engine
 * @property {string} model
 * @property {boolean} stand_in whether this engine only stands in for Chatterbox
 * @property {boolean} voice_cloning
 * @property {boolean} voice_conversion
 * @property {string[]} formats
 * @property {string[]} decode_modes
 * @property {string[]} languages BCP-47; a voice made of a recording speaks the first
 * @property {boolean} polyglot whether every voice speaks all of them
 * @property {string[]} tags with their brackets
 * @property {string[]} unused_fields
 * @property {Record<string, string | number>} defaults of fields, where they are not the page's
 * @property {Record<Limits, number>} limits
 *
 * @typedef {{name: string, language: string, description?: string, reference_duration: number | null}} Voice
 * @typedef {{default: string, voices: Voice[]}} Voices
 *
 * @typedef {Record<string, string | number | boolean | Record<string, string>>} Fields of a request
 * @typedef {Record<string, File>} Recordings of a request, by field
 */

let key = ""; // in memory only

/** @param {string} given */
export function useKey(given) {
  key = given;
}

export const hasKey = () => key !== "";

/** What the worker refused or could not do, in words for the user. */
export class Refusal extends Error {
  /** @param {string} message @param {{status?: number, faults?: Fault[]}} [more] status 0: no response */
  constructor(message, { status = 0, faults = [] } = {}) {
    super(message);
    this.status = status;
    this.faults = faults;
  }
}

/** Throws Refusal. @returns {Promise<Info>} */
export const info = () => ask("info").then((response) => response.json());

/** Throws Refusal. @returns {Promise<Voices>} */
export const voices = () => ask("v1/voices").then((response) => response.json());

/** The OpenAPI document as a file. Throws Refusal. @returns {Promise<Blob>} */
export const description = () => ask("openapi.json").then((response) => response.blob());

/** `ready` is null where the worker's state is unknown. @returns {Promise<{ready: boolean | null, reason: string}>} */
export async function ping() {
  const response = await fetch("ping", { cache: "no-store" }).catch(() => null);
  if (!response || ![200, 204, 503].includes(response.status)) return { ready: null, reason: "" };
  const { reason = "" } =
    response.status === 503 ? await response.json().catch(() => ({ reason: "no reason given" })) : {};
  return { ready: response.status === 200, reason };
}

/**
 * Speaks a text or converts a recording, as events; the last one is `end`.
 * Throws Refusal; DOMException "AbortError" where the signal was aborted.
 * @param {Fields} fields @param {Recordings} recordings @param {AbortSignal} signal
 * @returns {AsyncGenerator<SpeechEvent>}
 */
export async function* speak(fields, recordings, signal) {
  /** @type {Fields} */ const streamed = { ...fields, output_format: "pcm_s16le" };
  if (fields.operation === "tts") streamed.word_timestamps = true;
  const options = { accept: "text/event-stream", ...bodyOf(streamed, recordings), signal };
  const response = await ask(String(fields.operation), options);
  let ended = false;
  for await (const event of eventsOf(response, signal)) {
    if (event.name === "error") throw refusalOf(200, event.data, null);
    ended ||= event.name === "end";
    yield event;
  }
  if (!ended) throw new Refusal("The connection ended before the sound did.");
}

/**
 * The same as one file. Throws Refusal.
 * @param {Fields} fields @param {Recordings} recordings @returns {Promise<Blob>}
 */
export async function file(fields, recordings) {
  const response = await ask(String(fields.operation), bodyOf(fields, recordings));
  /** @type {Reply} */ const reply = await response.json();
  if (typeof reply.audio !== "string") throw new Refusal("The worker sent no audio in its reply.");
  return new Blob([bytesOf(reply.audio)], { type: reply.mime_type });
}

/** @param {string} base64 */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/**
 * @param {string} address
 * @param {{accept?: string, body?: BodyInit, type?: string, signal?: AbortSignal}} [options]
 */
async function ask(address, { accept = "application/json", body, type, signal } = {}) {
  const headers = new Headers({ Accept: accept });
  if (type) headers.set("Content-Type", type);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const response = await fetch(address, { method: body ? "POST" : "GET", headers, body, signal }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The worker can't be reached. Is it running, and are you online?");
  });
  if (!response.ok) {
    const reply = await response.json().catch(() => ({}));
    throw refusalOf(response.status, reply, response.headers.get("Retry-After"));
  }
  return response;
}

/** @param {Fields} fields @param {Recordings} recordings @returns {{body: BodyInit, type?: string}} */
function bodyOf(fields, recordings) {
  if (!Object.keys(recordings).length) return { body: JSON.stringify(fields), type: "application/json" };
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    form.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  for (const [name, file] of Object.entries(recordings)) form.set(name, file);
  return { body: form }; // the browser sets the type, which holds the boundary
}

/** @param {number} status @param {Partial<ErrorReply>} reply @param {string | null} retryAfter in seconds */
function refusalOf(status, reply, retryAfter) {
  const error = typeof reply.error === "string" ? reply.error : reply.error?.message;
  const message = error?.replace(/^[A-Z_]+: /, "") ?? "";
  const faults = Array.isArray(reply.details) ? reply.details : [];
  if (status === 401) return new Refusal("The worker asks for an API key.", { status });
  if (status === 429) {
    const when = retryAfter ? `in ${retryAfter} s` : "in a moment";
    return new Refusal(`The worker is busy with others. Try again ${when}.`, { status });
  }
  if (status === 413) return new Refusal(message || "That is more than the worker takes.", { status, faults });
  return new Refusal(message || `The worker could not do that (status ${status}).`, { status, faults });
}

/** The events of a response's body. @param {Response} response @param {AbortSignal} signal */
async function* eventsOf({ body }, signal) {
  if (!body) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        throw signal.aborted ? error : new Refusal("The connection to the worker broke.");
      });
      if (done) return;
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = eventOf(block);
        if (event) yield event;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined); // a stream that broke can't be cancelled
  }
}

/** @param {string} block @returns {StreamEvent | null} null for a comment */
function eventOf(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length ? /** @type {StreamEvent} */ ({ name, data: JSON.parse(data.join("\n")) }) : null;
}
