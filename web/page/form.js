/** The form as a request's fields: what to send, where a fault is shown, what is kept for the next visit. */

import { byId, find } from "./elements.js";

const REMEMBERED = "chatterbox-worker";
const NOT_REMEMBERED = new Set(["text", "seed", "voice_mode", "operation"]);
// Sent in their own way, or not at all.
const SENT_OTHERWISE = new Set(["text", "voice", "voice_mode", "operation", "output_format", "pronunciations"]);

/** @typedef {import("./worker.js").Fault} Fault */
/** @typedef {import("./worker.js").Fields} Fields */
/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

const form = byId("ask", HTMLFormElement);

// A field without a place for its fault gets one. That and the field's note, if it has one, describe its control.
for (const field of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll(".field"))) {
  const name = field.dataset.field ?? "";
  if (document.getElementById(`${name}-error`)) continue;
  const error = Object.assign(document.createElement("p"), { id: `${name}-error`, className: "error", hidden: true });
  field.append(error);
  const words = [...document.querySelectorAll(`#${name}-note`), error].map(({ id }) => id);
  document.getElementById(name)?.setAttribute("aria-describedby", words.join(" "));
}

/** Those with a name. */
export function controls() {
  return /** @type {Control[]} */ ([...form.elements]).filter((control) => control.name);
}

/** A radio button. @param {string} name of the field @param {string} value */
export function radio(name, value) {
  return find(form, `[name=${name}][value=${value}]`, HTMLInputElement);
}

/** The value of a field, "" where there is none. @param {string} name */
export function chosen(name) {
  return String(new FormData(form).get(name) ?? "");
}

/** Shows the parts of one operation alone. @param {string} operation @param {Set<string>} unused fields */
export function showParts(operation, unused) {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-operation]"))) {
    part.hidden = part.dataset.operation !== operation || unused.has(part.dataset.field ?? "");
  }
}

/** The model's own default of a field; a value that was typed stays. @param {string} name @param {string} value */
export function setDefault(name, value) {
  const control = form.elements.namedItem(name);
  if (control instanceof HTMLInputElement) control.defaultValue = value;
}

/** The fields to send: only what is shown and was changed, since an engine warns of fields that it does not use. */
export function fields() {
  /** @type {Fields} */
  const sent = { operation: chosen("operation") };
  if (sent.operation === "tts") sent.text = chosen("text");
  if (chosen("voice_mode") !== "clone" && chosen("voice")) sent.voice = chosen("voice");
  for (const control of controls().filter(isShown)) {
    const { name } = control;
    if (name === "pronunciations") Object.assign(sent, pronunciations());
    if (SENT_OTHERWISE.has(name) || !isChanged(control)) continue;
    if (control instanceof HTMLInputElement) sent[name] = isCheckbox(control) ? control.checked : control.valueAsNumber;
    else sent[name] = control.value;
  }
  return sent;
}

/** Faults that are found without asking the worker. @returns {Fault[]} */
export function ownFaults() {
  const faults = [];
  if (chosen("operation") === "tts" && !chosen("text").trim())
    faults.push({ field: "text", message: "is empty: write something to speak" });
  for (const { name, validity } of controls().filter(isShown)) {
    if (validity.badInput) faults.push({ field: name, message: "must be a number" });
  }
  return faults;
}

/** Shows faults at their fields and focuses the first. @param {Fault[]} faults @returns those without a field here */
export function mark(faults) {
  const rest = faults.filter((fault) => !markOne(fault));
  const first = document.querySelector("[aria-invalid=true]");
  if (first instanceof HTMLElement) first.focus();
  return rest;
}

export function unmark() {
  for (const control of document.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  for (const error of form.querySelectorAll(".error")) error.setAttribute("hidden", "");
}

/** @param {Fault} fault @returns {boolean} whether its field is here and visible */
export function markOne(fault) {
  const name = { cfg: "cfg_weight", reference_audio_url: "reference_audio" }[fault.field] ?? fault.field;
  const error = document.getElementById(`${name}-error`);
  if (!error || error.closest("[hidden]:not(.error)")) return false;
  const label = document.querySelector(`[data-field="${name}"] label:not(.hidden), #${name}-label`)?.textContent;
  const isSentence = fault.message.startsWith("the "); // of a recording that can't be used
  error.textContent = isSentence
    ? fault.message.replace("the", "The")
    : `${(TITLES[name] ?? label ?? name).trim()} ${fault.message}`;
  error.hidden = false;
  error.closest("details")?.setAttribute("open", "");
  document.getElementById(name)?.setAttribute("aria-invalid", "true");
  return true;
}

/** @type {Record<string, string>} */
const TITLES = {
  voice: "The voice",
  voice_mode: "The voice",
  output_format: "The format",
  reference_audio: "The recording",
  source_audio: "The recording",
  pronunciations: "Pronunciations:",
};

/** @param {string} name of the field */
export function unmarkOne(name) {
  document.getElementById(name)?.removeAttribute("aria-invalid");
  document.getElementById(`${name}-error`)?.setAttribute("hidden", "");
}

/** Only what was changed: another model has other defaults. */
export function remember() {
  const kept = controls().filter((control) => !NOT_REMEMBERED.has(control.name) && !isUnfilled(control));
  const values = Object.fromEntries(kept.map((each) => [each.name, isChanged(each) ? valueOf(each) : undefined]));
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify({ ...remembered(), ...values }));
  } catch {
    return; // a browser that stores nothing
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
    return {}; // likewise, or the stored text is not ours
  }
}

/** Puts values into the form; a select takes only what it offers. @param {Record<string, unknown>} values */
export function put(values) {
  for (const control of controls()) {
    const value = values[control.name];
    if (value === undefined || control.type === "radio") continue;
    if (isCheckbox(control)) control.checked = Boolean(value);
    else if (hasOption(control, String(value))) control.value = String(value);
  }
  if (typeof values.pronunciations === "object") putPronunciations(values.pronunciations ?? {});
}

/** Sets every field but text, voice and format to its default. */
export function reset() {
  for (const control of controls()) {
    if (["text", "voice", "voice_mode", "operation", "output_format"].includes(control.name)) continue;
    if (control instanceof HTMLSelectElement)
      control.selectedIndex = [...control.options].findIndex((option) => option.defaultSelected);
    else if (isCheckbox(control)) control.checked = control.defaultChecked;
    else control.value = control.defaultValue;
  }
}

/** Also in what is folded. @param {Control} control */
function isShown(control) {
  return !control.closest("[hidden]");
}

/** @param {Control} control */
function isChanged(control) {
  if (control instanceof HTMLSelectElement) return !control.selectedOptions[0]?.defaultSelected;
  if (isCheckbox(control)) return control.checked !== control.defaultChecked;
  const { value, defaultValue } = control;
  return value !== "" && (defaultValue === "" || Number(value) !== Number(defaultValue));
}

/** @param {Control} control @returns {control is HTMLInputElement & {type: "checkbox"}} */
function isCheckbox(control) {
  return control.type === "checkbox";
}

/** @param {Control} control */
function valueOf(control) {
  return isCheckbox(control) ? control.checked : control.value;
}

/** Whether it is a list that waits for the worker's choices. @param {Control} control */
function isUnfilled(control) {
  return control instanceof HTMLSelectElement && control.options.length < 2 && !control.dataset.filled;
}

/** Whether the control can take the value; only a list may lack it. @param {Control} control @param {string} value */
function hasOption(control, value) {
  return !(control instanceof HTMLSelectElement) || [...control.options].some((option) => option.value === value);
}

/** The field of the lines `WORD = RESPELLING`, if there are any. */
function pronunciations() {
  const pairs = chosen("pronunciations")
    .split("\n")
    .map((line) => line.split("=", 2).map((part) => part.trim()));
  const said = pairs.filter(([word]) => word).map(([word, respelling]) => [word, respelling ?? ""]);
  return said.length ? { pronunciations: Object.fromEntries(said) } : {};
}

/** @param {object} pairs of strings */
function putPronunciations(pairs) {
  const lines = Object.entries(pairs).map(([word, said]) => `${word} = ${said}`);
  byId("pronunciations", HTMLTextAreaElement).value = lines.join("\n");
}
