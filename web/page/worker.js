/**
 * The worker's addresses: what it is, its voices, a text spoken as events, a file. It knows no element of the page.
 *
 * Speech comes as `text/event-stream` of raw PCM rather than as bytes of a file: it carries the metrics and a fault
 * in mid-stream in words, and base64 costs 16 kB for a second of sound.
 */

let key = ""; // in memory only

/** @param {string} given */
export function useKey(given) {
  key = given;
}

export const hasKey = () => key !== "";

/** @typedef {{field: string, message: string}} Fault */
/** @typedef {Record<string, string | number | boolean | Record<string, string>>} Fields */

/** What the worker refused, or could not do, in words for the person at the page. */
export class Refusal extends Error {
  /** @param {string} message @param {{status?: number, faults?: Fault[]}} [more] status 0: nobody answered */
  constructor(message, { status = 0, faults = [] } = {}) {
    super(message);
    this.status = status;
    this.faults = faults;
  }
}

/** Raises: Refusal. @returns {Promise<any>} */
export const info = () => ask("info").then((response) => response.json());

/** The API's description, as a file. Raises: Refusal. @returns {Promise<Blob>} */
export const description = () => ask("openapi.json").then((response) => response.blob());

/** Raises: Refusal. @returns {Promise<any>} */
export const voices = () => ask("v1/voices").then((response) => response.json());

/** `{ready, reason}`; ready is null where nothing tells. @returns {Promise<{ready: boolean | null, reason: string}>} */
export async function ping() {
  const response = await fetch("ping", { cache: "no-store" }).catch(() => null);
  if (!response || ![200, 204, 503].includes(response.status)) return { ready: null, reason: "" };
  const { reason = "" } =
    response.status === 503 ? await response.json().catch(() => ({ reason: "no reason told" })) : {};
  return { ready: response.status === 200, reason };
}

/**
 * Speak, as events: `{name: "audio", data: {audio, sample_rate, …}}` and last `{name: "end", data}`.
 * Raises: Refusal; DOMException "AbortError" where the signal was.
 * @param {Fields} fields @param {Blob | null} reference @param {AbortSignal} signal
 * @returns {AsyncGenerator<{name: string, data: any}>}
 */
export async function* speak(fields, reference, signal) {
  const streamed = { ...fields, output_format: "pcm_s16le" };
  const response = await ask("tts", { accept: "text/event-stream", ...bodyOf(streamed, reference), signal });
  let ended = false;
  for await (const event of eventsOf(/** @type {ReadableStream<Uint8Array>} */ (response.body), signal)) {
    if (event.name === "error") throw refusalOf(200, event.data, null);
    ended ||= event.name === "end";
    yield event;
  }
  if (!ended) throw new Refusal("The connection ended before the sound did.");
}

/**
 * The joined file. Raises: Refusal; DOMException.
 * @param {Fields} fields @param {Blob | null} reference @returns {Promise<Blob>}
 */
export async function file(fields, reference) {
  const response = await ask("tts", { accept: "application/json", ...bodyOf(fields, reference) });
  const reply = await response.json();
  if (typeof reply.audio !== "string") throw new Refusal("The worker sent no audio in its reply.");
  return new Blob([bytesOf(reply.audio)], { type: reply.mime_type });
}

/** @param {string} base64 */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/**
 * @param {string} address
 * @param {{accept?: string, body?: BodyInit, type?: string, signal?: AbortSignal}} [how]
 */
async function ask(address, { accept = "application/json", body, type, signal } = {}) {
  const headers = new Headers({ Accept: accept });
  if (type) headers.set("Content-Type", type);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const response = await fetch(address, { method: body ? "POST" : "GET", headers, body, signal }).catch((fault) => {
    if (fault.name === "AbortError") throw fault;
    throw new Refusal("The worker can't be reached. Is it running, and are you online?");
  });
  if (!response.ok) {
    const reply = await response.json().catch(() => ({}));
    throw refusalOf(response.status, reply, response.headers.get("Retry-After"));
  }
  return response;
}

/** @param {Fields} fields @param {Blob | null} reference @returns {{body: BodyInit, type?: string}} */
function bodyOf(fields, reference) {
  if (!reference) return { body: JSON.stringify(fields), type: "application/json" };
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    form.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  form.set("reference_audio", reference, reference instanceof File ? reference.name : "recording");
  return { body: form }; // the browser writes the type, for it holds the boundary
}

/** @param {number} status @param {any} reply @param {string | null} retryAfter */
function refusalOf(status, reply, retryAfter) {
  const told = reply.error?.message ?? reply.error; // under /v1/ errors have OpenAI's shape
  const said = typeof told === "string" ? told.replace(/^[A-Z_]+: /, "") : "";
  const faults = Array.isArray(reply.details) ? reply.details : [];
  if (status === 401) return new Refusal("The worker asks for an API key.", { status });
  if (status === 429) {
    const when = retryAfter ? `in ${retryAfter} s` : "in a moment";
    return new Refusal(`The worker is busy with others. Try again ${when}.`, { status });
  }
  if (status === 413) return new Refusal(said || "That is more than the worker takes.", { status, faults });
  return new Refusal(said || `The worker could not do that (status ${status}).`, { status, faults });
}

/** The events of a stream. @param {ReadableStream<Uint8Array>} body @param {AbortSignal} signal */
async function* eventsOf(body, signal) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((fault) => {
        throw signal.aborted ? fault : new Refusal("The connection to the worker broke.");
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
    void reader.cancel().catch(() => undefined); // of a stream that broke there is nothing to cancel
  }
}

/** @param {string} block */
function eventOf(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
