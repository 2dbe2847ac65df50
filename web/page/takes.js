/**
 * What was spoken so far, in memory: the last ten takes as a list to hear again, compare and save.
 * It does not know how a take is made or played.
 */

import { sketch } from "./waveform.js";

const KEPT = 10;

/** @typedef {import("./clip.js").Clip} Clip */
/** @typedef {import("./worker.js").Fields} Fields */

/**
 * One request and what came of it.
 * @typedef {object} Take
 * @property {number} number
 * @property {Fields} fields as they were sent
 * @property {File | null} reference
 * @property {string} voice for the eye
 * @property {Clip | null} clip null until the first sound
 * @property {number | null} firstSoundMs from the click to the first sound in the page
 * @property {any} reply the `end` event; null where it was stopped or failed
 * @property {boolean} over whether no more will come
 * @property {Map<string, Blob>} files by format, as they were made
 */

/** @typedef {{play: (take: Take) => void, reuse: (take: Take) => void, save: (take: Take) => void}} Doings */

export class Takes {
  /** Newest first. @type {Take[]} */ all = [];
  /** @type {Take | null} */ #shown = null;
  #count = 0;

  /** @param {HTMLElement} section @param {Doings} doings */
  constructor(section, doings) {
    this.section = section;
    this.doings = doings;
    new ResizeObserver(() => this.sketchAll()).observe(section);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.sketchAll());
  }

  /** @param {Fields} fields @param {File | null} reference @returns {Take} not in the list yet */
  begin(fields, reference) {
    const voice = reference ? `clone of ${reference.name}` : String(fields.voice ?? "default");
    const [number, files] = [++this.#count, new Map()];
    return { number, fields, reference, voice, clip: null, firstSoundMs: null, reply: null, over: false, files };
  }

  /** Into the list, once there is something to hear; the oldest goes. `show` shows it. @param {Take} take */
  keep(take) {
    this.all = [take, ...this.all].slice(0, KEPT);
  }

  /** Mark the one that is on the stage, and write the list anew. @param {Take | null} take */
  show(take) {
    this.#shown = take;
    this.section.hidden = !this.all.length;
    const list = /** @type {HTMLElement} */ (this.section.querySelector("ol"));
    const focused = list.contains(document.activeElement) ? document.activeElement?.id : "";
    list.replaceChildren(...this.all.map((one) => this.#row(one)));
    if (focused) document.getElementById(focused)?.focus(); // the keyboard stays where it was
    this.sketchAll();
  }

  sketchAll() {
    const canvases = this.section.querySelectorAll("canvas");
    this.all.forEach((take, i) => take.clip && canvases[i] && sketch(canvases[i], take.clip));
  }

  /** @param {Take} take */
  #row(take) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("take"));
    const row = /** @type {HTMLElement} */ (template.content.cloneNode(true));
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
    const text = String(take.fields.text);
    part("li").classList.toggle("shown", take === this.#shown);
    if (take === this.#shown) part("li").setAttribute("aria-current", "true");
    part(".words").textContent = text;
    part(".facts").textContent = facts(take).join(" · ");
    this.#button(part(".again"), take, "play", `Play take ${take.number}: ${text.slice(0, 60)}`);
    this.#button(part(".reuse"), take, "reuse", `Use text and settings of take ${take.number} again`);
    this.#button(part(".save"), take, "save", `Download take ${take.number}`);
    return row;
  }

  /** @param {HTMLElement} button @param {Take} take @param {keyof Doings} doing @param {string} name */
  #button(button, take, doing, name) {
    button.id = `${doing}-${take.number}`;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => this.doings[doing](take));
  }
}

/** @param {Take} take */
function facts(take) {
  const { metrics, seed } = take.reply ?? {};
  return [
    `${take.number}`,
    take.voice,
    seed === undefined ? (take.over ? "stopped" : "speaking") : `seed ${seed}`,
    take.firstSoundMs === null ? "" : `first ${Math.round(take.firstSoundMs)} ms`,
    metrics ? `RTF ${metrics.rtf.toFixed(2)}` : "",
    take.clip && take.over ? `${take.clip.durationS.toFixed(1)} s` : "",
  ]
    .filter(Boolean)
    .map((fact) => fact.replaceAll(" ", "\u00a0")); // a line breaks between facts only
}
