/**
 * What the worker offers, put into the form: voices, formats, limits, and whether it is ready.
 * It does not know how anything is spoken.
 */

import { byId, select } from "./elements.js";
import * as form from "./form.js";
import { withKey } from "./key.js";
import * as worker from "./worker.js";

/** @typedef {{name: string, language: string, description?: string, reference_duration: number | null}} Voice */

const AGAIN_MS = 2000;
/** @type {Record<string, string>} */
const FORMATS = {
  wav: "WAV", flac: "FLAC", mp3: "MP3", aac: "AAC", opus: "Opus", pcm_s16le: "PCM", mulaw: "μ-law", alaw: "A-law",
};

/** @type {Voice[]} */ let voices = [];
let maxChars = Infinity;
let canClone = true;
let meeting = 0;

/** Ask until it is known. @param {import("./reference.js").Reference} reference */
export async function meet(reference) {
  const mine = ++meeting;
  try {
    const [about, library] = await withKey(() => Promise.all([worker.info(), worker.voices()]));
    offer(about, library, reference);
    await watch(`${about.engine} · ${about.model}`);
  } catch (fault) {
    if (!(fault instanceof worker.Refusal)) throw fault;
    show("down", fault.message);
    if (fault.status !== 401) setTimeout(() => mine === meeting && void meet(reference), 2 * AGAIN_MS);
  }
}

/** Until the model is loaded, or where loading has failed. @param {string} name */
async function watch(name) {
  const { ready, reason } = await worker.ping();
  if (ready !== false) return show("ready", name);
  show(reason ? "down" : "loading", reason ? `${name}: ${reason}` : `${name}: loading`);
  setTimeout(() => void watch(name), AGAIN_MS);
}

/** @param {"ready" | "loading" | "down"} state @param {string} words */
function show(state, words) {
  byId("worker").dataset.state = state;
  const told = /** @type {HTMLElement} */ (byId("worker").querySelector("span"));
  told.textContent = words;
}

/**
 * @param {any} about @param {{default: string, voices: Voice[]}} library
 * @param {import("./reference.js").Reference} reference
 */
function offer(about, library, reference) {
  showStandIn(about);
  voices = library.voices;
  maxChars = about.limits.max_text_chars;
  reference.largestBytes = about.limits.max_reference_bytes;
  fill(
    select("voice"),
    voices.map((one) => [one.name, `${one.name} · ${languageName(one.language)}`]),
    library.default,
  );
  fill(
    select("output_format"),
    about.formats.map((/** @type {string} */ one) => [one, FORMATS[one] ?? one]),
    "wav",
  );
  fill(
    select("decode_mode"),
    ["auto", ...about.decode_modes].map((one) => [one, one]),
    "auto",
  );
  const clone = /** @type {HTMLInputElement} */ (document.querySelector("[name=voice_mode][value=clone]"));
  canClone = about.voice_cloning;
  clone.disabled = !canClone;
  if (!canClone) chooseVoiceMode(false);
  form.recall();
  showValues();
}

/** Whether another engine speaks in place of the one the worker is for. @param {any} about */
function showStandIn(about) {
  byId("stand-in").hidden = !about.stand_in;
  byId("stand-in").textContent = about.stand_in
    ? `${about.engine} speaks here as a stand-in: it shows how the worker works, not how Chatterbox sounds.`
    : "";
}

/** @param {HTMLSelectElement} list @param {string[][]} choices value and words @param {string} standard */
function fill(list, choices, standard) {
  const was = list.dataset.filled ? list.value : "";
  const options = choices.map(([value, words]) => new Option(words, value, value === standard, value === standard));
  list.replaceChildren(...options);
  if (choices.some(([value]) => value === was)) list.value = was;
  list.dataset.filled = "yes";
}

/** @param {boolean} clones */
export function chooseVoiceMode(clones) {
  const mode = clones ? "clone" : "predefined";
  /** @type {HTMLInputElement} */ (document.querySelector(`[name=voice_mode][value=${mode}]`)).checked = true;
}

/** Everything that is written beside the controls. */
export function showValues() {
  showCount();
  showVoice();
  for (const one of form.controls()) {
    if (!(one instanceof HTMLInputElement) || one.type !== "range") continue;
    const share = (one.valueAsNumber - Number(one.min)) / (Number(one.max) - Number(one.min));
    one.style.setProperty("--share", String(share));
    const told = document.querySelector(`output[for="${one.id}"]`);
    if (told) told.textContent = one.valueAsNumber.toFixed(2);
  }
}

function showCount() {
  const count = [...form.chosen("text")].length; // characters as the worker counts them, not UTF-16 units
  byId("count").textContent = String(count);
  byId("limit").textContent = Number.isFinite(maxChars) ? ` of ${maxChars}` : "";
  byId("text-count").classList.toggle("over", count > maxChars);
}

function showVoice() {
  const clones = form.chosen("voice_mode") === "clone";
  byId("library").hidden = clones;
  byId("cloning").hidden = !clones;
  const voice = voices.find((one) => one.name === form.chosen("voice"));
  const lasts = voice?.reference_duration ? `${voice.reference_duration.toFixed(1)} s of recording` : "";
  const cannot = canClone ? "" : "This engine can't take a voice from a recording.";
  byId("voice-note").textContent = [voice?.description, lasts, cannot].filter(Boolean).join(" · ");
}

/** @param {string} tag BCP-47 */
function languageName(tag) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag; // not every engine's tag is one of BCP-47
  }
}
