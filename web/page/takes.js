/** The last ten takes, in memory: a list to play, reuse and save them. */

import { byId, find } from "./elements.js";
import { sketch } from "./waveform.js";

const KEPT = 10;

/** @typedef {import("./clip.js").Clip} Clip */
/** @typedef {import("./worker.js").Fields} Fields */

/**
 * One request and its result.
 * @typedef {object} Take
 * @property {number} number
 * @property {Fields} fields as sent
 * @property {import("./worker.js").Recordings} recordings as sent
 * @property {string} title
 * @property {string} voice as shown
 * @property {Clip | null} clip null before the first sound
 * @property {import("./worker.js").Span[]} words that were spoken so far
 * @property {number | null} firstSoundMs from the click to the first sound in the page
 * @property {import("./worker.js").Reply | null} reply null where it was stopped or failed
 * @property {boolean} over whether the request has ended
 * @property {Map<string, Blob>} files by format, as made
 */

/** @typedef {Record<"play" | "reuse" | "save", (take: Take) => void>} Actions */

export class Takes {
  /** Newest first. @type {Take[]} */ all = [];
  /** @type {Take | null} */ #shown = null;
  #count = 0;

  /** @param {HTMLElement} section @param {Actions} actions */
  constructor(section, actions) {
    this.section = section;
    this.actions = actions;
    new ResizeObserver(() => this.sketchAll()).observe(section);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.sketchAll());
  }

  /** @param {Fields} fields @param {Take["recordings"]} recordings @returns {Take} not in the list */
  begin(fields, recordings) {
    const { source_audio, reference_audio } = recordings;
    const title = source_audio ? `${source_audio.name}, converted` : String(fields.text);
    const voice = reference_audio ? `clone of ${reference_audio.name}` : String(fields.voice ?? "default");
    const [number, files] = [++this.#count, new Map()];
    const none = { clip: null, words: [], firstSoundMs: null, reply: null };
    return { number, fields, recordings, title, voice, ...none, over: false, files };
  }

  /** Puts a take with sound into the list, which drops the oldest; `show` draws it. @param {Take} take */
  keep(take) {
    this.all = [take, ...this.all].slice(0, KEPT);
  }

  /** Marks a take and rebuilds the list. @param {Take | null} take */
  show(take) {
    this.#shown = take;
    this.section.hidden = !this.all.length;
    const list = find(this.section, "ol");
    const focused = list.contains(document.activeElement) ? document.activeElement?.id : "";
    list.replaceChildren(...this.all.map((each) => this.#row(each)));
    if (focused) document.getElementById(focused)?.focus(); // the rows are new
    this.sketchAll();
  }

  sketchAll() {
    const canvases = this.section.querySelectorAll("canvas");
    canvases.forEach((canvas, i) => this.all[i]?.clip && sketch(canvas, this.all[i].clip));
  }

  /** @param {Take} take */
  #row(take) {
    const row = /** @type {DocumentFragment} */ (byId("take", HTMLTemplateElement).content.cloneNode(true));
    const part = (/** @type {string} */ name) => find(row, name);
    part("li").classList.toggle("shown", take === this.#shown);
    if (take === this.#shown) part("li").setAttribute("aria-current", "true");
    part(".words").textContent = take.title;
    part(".facts").textContent = facts(take).join(" · ");
    this.#button(part(".again"), take, "play", `Play take ${take.number}: ${take.title.slice(0, 60)}`);
    this.#button(part(".reuse"), take, "reuse", `Use the request of take ${take.number} again`);
    this.#button(part(".save"), take, "save", `Download take ${take.number}`);
    return row;
  }

  /** @param {HTMLElement} button @param {Take} take @param {keyof Actions} action @param {string} name */
  #button(button, take, action, name) {
    button.id = `${action}-${take.number}`;
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => this.actions[action](take));
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
    .map((fact) => fact.replaceAll(" ", "\u00a0")); // a line breaks only between facts
}
