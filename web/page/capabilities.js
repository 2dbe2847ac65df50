/** What the worker offers, put into the form: voices, formats, limits, and whether it is ready. */

import { byId, find } from "./elements.js";
import * as form from "./form.js";
import { withKey } from "./key.js";
import * as worker from "./worker.js";

/** @typedef {Record<"source_audio" | "reference_audio", import("./recording.js").Recording>} Recordings */

const RETRY_MS = 2000;
const LONGEST_FORM_BYTES = 29_900_000; // the HTTP server takes 30 MB, and there are other fields
/** @type {Record<string, string>} */
const FORMATS = {
  wav: "WAV", flac: "FLAC", mp3: "MP3", aac: "AAC", opus: "Opus", pcm_s16le: "PCM", mulaw: "μ-law", alaw: "A-law",
  mulaw_raw: "μ-law, raw", alaw_raw: "A-law, raw", pcm_f32le: "PCM, float",
};

/** @type {worker.Voice[]} */ let voices = [];
let maxChars = Infinity;
let canClone = true;
/** @type {string[]} */ let languages = [];
/** Fields that the engine has no use for. @type {Set<string>} */ let unused = new Set();
let latest = 0; // the number of the last `connect`, which alone retries

/** Asks the worker what it offers, until it answers. @param {Recordings} recordings of the form */
export async function connect(recordings) {
  const number = ++latest;
  try {
    const [info, library] = await withKey(() => Promise.all([worker.info(), worker.voices()]));
    offer(info, library, recordings);
    await watch(`${info.engine} · ${info.model}`);
  } catch (error) {
    if (!(error instanceof worker.Refusal)) throw error;
    show("down", error.message);
    if (error.status !== 401) setTimeout(() => number === latest && void connect(recordings), 2 * RETRY_MS);
  }
}

/** Shows the worker's state until the model is loaded. @param {string} name */
async function watch(name) {
  const { ready, reason } = await worker.ping();
  if (ready !== false) return show("ready", name);
  show(reason ? "down" : "loading", reason ? `${name}: ${reason}` : `${name}: loading`);
  setTimeout(() => void watch(name), RETRY_MS);
}

/** @param {"ready" | "loading" | "down"} state @param {string} text */
function show(state, text) {
  byId("worker").dataset.state = state;
  find(byId("worker"), "span").textContent = text;
}

/** @param {worker.Info} info @param {worker.Voices} library @param {Recordings} recordings */
function offer(info, library, { source_audio, reference_audio }) {
  showStandIn(info);
  voices = library.voices;
  maxChars = info.limits.max_text_chars;
  reference_audio.maxBytes = info.limits.max_reference_bytes;
  reference_audio.shortestS = Math.max(1, info.limits.min_reference_s);
  source_audio.maxBytes = Math.min(info.limits.max_source_bytes, LONGEST_FORM_BYTES);
  source_audio.longestS = info.limits.max_source_s;
  const names = voices.map(({ name, language }) => new Option(`${name} · ${languageName(language)}`, name));
  fill("voice", library.default, names);
  fill("output_format", "wav", info.formats.map((name) => new Option(FORMATS[name] ?? name, name)));
  fill("decode_mode", "auto", ["auto", ...info.decode_modes].map((name) => new Option(name, name)));
  canClone = info.voice_cloning;
  form.radio("voice_mode", "clone").disabled = !canClone;
  if (!canClone) form.radio("voice_mode", "predefined").checked = true;
  offerConversion(info.voice_conversion);
  languages = info.languages;
  const others = languages.map((tag) => new Option(languageName(tag), tag));
  fill("language", "", [new Option("", ""), ...others]);
  byId("tags").hidden = !info.tags.length;
  byId("tags").replaceChildren(...info.tags.map(tagButton));
  unused = new Set(info.stand_in ? [] : info.unused_fields); // a stand-in shows the page as it is
  if (!info.polyglot) unused.add("language");
  for (const [name, value] of Object.entries(info.defaults)) form.setDefault(name, String(value));
  form.recall();
  showValues();
}

/** @param {worker.Info} info */
function showStandIn({ stand_in, engine }) {
  byId("stand-in").hidden = !stand_in;
  byId("stand-in").textContent = stand_in
    ? `${engine} speaks here as a stand-in: it shows how the worker works, not how Chatterbox sounds.`
    : "";
}

/** Writes one of the model's tags into the text, such as [laugh]. @param {string} tag */
function tagButton(tag) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: tag.slice(1, -1) });
  made.addEventListener("click", () => writeTag(tag));
  return made;
}

/** At the cursor, apart from the words beside it. @param {string} tag */
function writeTag(tag) {
  const text = byId("text", HTMLTextAreaElement);
  const before = /\S$/.test(text.value.slice(0, text.selectionStart)) ? " " : "";
  const after = /^\s/.test(text.value.slice(text.selectionEnd)) ? "" : " ";
  text.setRangeText(`${before}${tag}${after}`, text.selectionStart, text.selectionEnd, "end");
  text.focus();
  text.dispatchEvent(new Event("input", { bubbles: true })); // counted as what is typed
}

/** A switch takes the place of the text's label. @param {boolean} canConvert */
function offerConversion(canConvert) {
  byId("operations").hidden = !canConvert;
  byId("text-label").classList.toggle("hidden", canConvert);
  if (!canConvert) form.radio("operation", "tts").checked = true;
}

/**
 * Fills a list; a choice made before stays.
 * @param {string} id @param {string} standard @param {HTMLOptionElement[]} options
 */
function fill(id, standard, options) {
  const list = byId(id, HTMLSelectElement);
  const previous = list.dataset.filled ? list.value : "";
  for (const option of options) option.defaultSelected = option.value === standard;
  list.replaceChildren(...options);
  if (options.some(({ value }) => value === previous)) list.value = previous;
  list.dataset.filled = "yes";
}

/** The texts beside the controls. */
export function showValues() {
  form.showParts(form.chosen("operation"), unused);
  showCount();
  showVoice();
  for (const slider of form.controls()) {
    if (!(slider instanceof HTMLInputElement) || slider.type !== "range") continue;
    const share = (slider.valueAsNumber - Number(slider.min)) / (Number(slider.max) - Number(slider.min));
    slider.style.setProperty("--share", String(share));
    const output = document.querySelector(`output[for="${slider.id}"]`);
    if (output) output.textContent = slider.valueAsNumber.toFixed(2);
  }
}

function showCount() {
  const count = [...form.chosen("text")].length; // code points, as the worker counts, not UTF-16 units
  byId("count").textContent = String(count);
  byId("limit").textContent = Number.isFinite(maxChars) ? ` of ${maxChars}` : "";
  byId("text-count").classList.toggle("over", count > maxChars);
}

function showVoice() {
  const clones = form.chosen("voice_mode") === "clone";
  byId("library").hidden = clones;
  byId("cloning").hidden = !clones;
  const voice = voices.find(({ name }) => name === form.chosen("voice"));
  const duration = voice?.reference_duration ? `${voice.reference_duration.toFixed(1)} s of recording` : "";
  const cannot = canClone ? "" : "This engine can't take a voice from a recording.";
  const own = languageName((clones ? languages[0] : voice?.language) ?? "");
  const [first] = byId("language", HTMLSelectElement).options;
  if (first) first.textContent = `${own}, as the voice`;
  byId("voice-note").textContent = [voice?.description, duration, cannot].filter(Boolean).join(" · ");
}

/** @param {string} tag BCP-47 */
function languageName(tag) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag; // some engines have tags of their own
  }
}
