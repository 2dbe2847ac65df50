/**
 * The form as the contract's fields: what to send, where a fault belongs, what is remembered for the next visit.
 * It does not know how a request travels, nor that anything is heard.
 */

const REMEMBERED = "chatterbox-worker";
const NEVER_REMEMBERED = new Set(["text", "seed", "voice_mode"]);
// Sent in their own way, or not at all.
const OF_THE_PAGE = new Set(["text", "voice", "voice_mode", "output_format", "pronunciations"]);

/** @typedef {import("./worker.js").Fault} Fault */
/** @typedef {import("./worker.js").Fields} Fields */
/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

/** @type {HTMLFormElement} */
const form = /** @type {HTMLFormElement} */ (document.getElementById("ask"));

/** @returns {Control[]} those with a name */
export function controls() {
  const all = /** @type {Control[]} */ ([...form.elements]);
  return all.filter((one) => one.name);
}

/** @param {string} name @returns {string} */
export function chosen(name) {
  return String(new FormData(form).get(name) ?? "");
}

/**
 * The fields to send. Only what was changed: an engine warns of what it has no use for.
 * @returns {Fields}
 */
export function fields() {
  /** @type {Fields} */
  const sent = { text: chosen("text") };
  if (chosen("voice_mode") !== "clone" && chosen("voice")) sent.voice = chosen("voice");
  for (const one of controls()) {
    if (OF_THE_PAGE.has(one.name) || !changed(one)) continue;
    if (one instanceof HTMLInputElement) sent[one.name] = one.type === "checkbox" ? one.checked : one.valueAsNumber;
    else sent[one.name] = one.value;
  }
  const respelled = pronunciations();
  return Object.keys(respelled).length ? { ...sent, pronunciations: respelled } : sent;
}

/** What no worker needs to be asked about. @returns {Fault[]} */
export function ownFaults() {
  const faults = [];
  if (!chosen("text").trim()) faults.push({ field: "text", message: "is empty: write something to speak" });
  for (const one of controls()) {
    if (one.validity.badInput) faults.push({ field: one.name, message: "must be a number" });
  }
  return faults;
}

/**
 * Show faults at their fields, focus the first.
 * @param {Fault[]} faults @returns {Fault[]} those without a place here
 */
export function mark(faults) {
  const homeless = faults.filter((fault) => !markOne(fault));
  const first = document.querySelector("[aria-invalid=true]");
  if (first instanceof HTMLElement) {
    first.focus();
  }
  return homeless;
}

export function unmark() {
  for (const one of document.querySelectorAll("[aria-invalid]")) one.removeAttribute("aria-invalid");
  for (const one of form.querySelectorAll(".error")) /** @type {HTMLElement} */ (one).hidden = true;
}

/** @param {Fault} fault @returns {boolean} whether it has a place here */
export function markOne(fault) {
  const name = { cfg: "cfg_weight", reference_audio_url: "reference_audio" }[fault.field] ?? fault.field;
  const told = document.getElementById(`${name}-error`);
  if (!told || told.closest("[hidden]:not(.error)")) return false;
  const label = document.querySelector(`[data-field="${name}"] label:not(.hidden), #${name}-label`)?.textContent;
  told.textContent = `${(TITLES[name] ?? label ?? name).trim()} ${fault.message}`;
  told.hidden = false;
  told.closest("details")?.setAttribute("open", "");
  document.getElementById(name)?.setAttribute("aria-invalid", "true");
  return true;
}

/** @type {Record<string, string>} */
const TITLES = {
  voice: "The voice",
  voice_mode: "The voice",
  output_format: "The format",
  reference_audio: "The recording",
  pronunciations: "Pronunciations:",
};

/** @param {string} name of the field that is right again */
export function unmarkOne(name) {
  document.getElementById(name)?.removeAttribute("aria-invalid");
  const told = document.getElementById(`${name}-error`);
  if (told) told.hidden = true;
}

export function remember() {
  const kept = controls().filter((one) => !NEVER_REMEMBERED.has(one.name) && !isUnfilled(one));
  const values = Object.fromEntries(kept.map((one) => [one.name, valueOf(one)]));
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify({ ...remembered(), ...values }));
  } catch {
    return; // a browser that keeps nothing: then nothing is remembered
  }
}

export function recall() {
  put(remembered());
}

/** @returns {Record<string, unknown>} */
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
  } catch {
    return {}; // likewise, or it was not we who wrote there
  }
}

/** Values into the form; of a select only what it offers. @param {Record<string, unknown>} values */
export function put(values) {
  for (const one of controls()) {
    const value = values[one.name];
    if (value === undefined || one.name === "voice_mode") continue;
    if (one instanceof HTMLInputElement && one.type === "checkbox") one.checked = Boolean(value);
    else if (!(one instanceof HTMLSelectElement) || hasOption(one, String(value))) one.value = String(value);
  }
  if (typeof values.pronunciations === "object")
    putPronunciations(/** @type {Record<string, string>} */ (values.pronunciations));
}

/** Every setting to its default; text, voice and format stay. */
export function reset() {
  for (const one of controls()) {
    if (["text", "voice", "voice_mode", "output_format"].includes(one.name)) continue;
    if (one instanceof HTMLSelectElement)
      one.selectedIndex = [...one.options].findIndex((each) => each.defaultSelected);
    else if (one instanceof HTMLInputElement && one.type === "checkbox") one.checked = one.defaultChecked;
    else one.value = one.defaultValue;
  }
}

/** @param {Control} one */
function changed(one) {
  if (one instanceof HTMLSelectElement) return !one.selectedOptions[0]?.defaultSelected;
  if (one instanceof HTMLInputElement && one.type === "checkbox") return one.checked !== one.defaultChecked;
  return one.value !== "" && Number(one.value) !== (one.defaultValue === "" ? null : Number(one.defaultValue));
}

/** @param {Control} one */
function valueOf(one) {
  return one instanceof HTMLInputElement && one.type === "checkbox" ? one.checked : one.value;
}

/** A list whose choices the worker has not told yet. @param {Control} one */
function isUnfilled(one) {
  return one instanceof HTMLSelectElement && one.options.length < 2 && !one.dataset.filled;
}

/** @param {HTMLSelectElement} select @param {string} value */
function hasOption(select, value) {
  return [...select.options].some((one) => one.value === value);
}

/** @returns {Record<string, string>} of the lines `WORD = RESPELLING` */
function pronunciations() {
  const pairs = chosen("pronunciations")
    .split("\n")
    .map((line) => line.split("=", 2).map((part) => part.trim()));
  return Object.fromEntries(pairs.filter(([word]) => word).map(([word, said]) => [word, said ?? ""]));
}

/** @param {Record<string, string>} pairs */
function putPronunciations(pairs) {
  const lines = Object.entries(pairs).map(([word, said]) => `${word} = ${said}`);
  /** @type {HTMLTextAreaElement} */ (document.getElementById("pronunciations")).value = lines.join("\n");
}
