/** One take's waveform, words, figures and buttons, drawn while something moves. */

import { byId, say } from "./elements.js";
import { Waveform } from "./waveform.js";
import { Words } from "./words.js";

/** @typedef {import("./takes.js").Take} Take */
/** @typedef {import("./worker.js").Reply} Reply */

const SETTLE_MS = 900; // drawing continues this long after the last change

export class Stage {
  /** @type {Take | null} */ take = null;
  isSpeaking = false; // a request is in progress
  #wave = new Waveform(byId("wave", HTMLCanvasElement));
  #words;
  #drawUntil = 0;
  #isDrawing = false;

  /** @param {import("./player.js").Player} player @param {(seconds: number) => void} onWord a word was clicked */
  constructor(player, onWord) {
    this.player = player;
    this.#words = new Words(onWord);
    player.addEventListener("change", () => this.refresh());
    new ResizeObserver(() => this.refresh()).observe(byId("wave"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
  }

  /** @param {Take | null} take */
  show(take) {
    this.take = take;
    this.#wave.show(take?.clip ?? null);
    this.#words.show(take);
    showFigures(take);
    showRemarks(take?.reply);
    this.refresh();
  }

  /** Draws until nothing moves. */
  refresh() {
    this.#drawUntil = performance.now() + SETTLE_MS;
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => this.#frame());
  }

  /** The time in the clip at a place. @param {number} px from the waveform's left edge */
  secondsAt(px) {
    return this.#wave.secondsAt(px);
  }

  #frame() {
    const isSounding = this.player.state === "playing" || this.player.state === "waiting";
    this.#isDrawing = isSounding || performance.now() < this.#drawUntil;
    if (this.#isDrawing) requestAnimationFrame(() => this.#frame());
    const clip = this.take?.clip ?? null;
    const positionS = clip && this.player.clip === clip ? this.player.positionS : 0;
    const marksS = this.take?.reply?.segments?.slice(1).map(({ start }) => start) ?? [];
    this.#wave.draw(positionS, marksS);
    this.#words.draw(positionS);
    showPosition(positionS, clip?.durationS ?? 0);
    showLevel(this.player.levelDbfs);
    showButtons(clip !== null, isSounding, this.isSpeaking);
  }
}

/** @param {Take | null} take */
function showFigures(take) {
  const metrics = take?.reply?.metrics;
  say("first", !take || take.firstSoundMs === null ? "–" : `${Math.round(take.firstSoundMs)} ms`);
  byId("first").title = metrics ? `in the worker ${Math.round(1000 * metrics.latency_to_first_chunk)} ms` : "";
  say("rtf", metrics ? metrics.rtf.toFixed(3) : "–");
  say("used-seed", take?.reply ? String(take.reply.seed) : "–");
}

/** The warnings, and the text as spoken where it differs. @param {Reply | null} [reply] */
function showRemarks(reply) {
  const spoken = reply?.spoken_text ? [`Spoken as: ${reply.spoken_text}`] : [];
  const remarks = reply ? [...reply.warnings, ...spoken] : [];
  const items = remarks.map((text) => Object.assign(document.createElement("li"), { textContent: text }));
  byId("remarks").replaceChildren(...items);
  byId("remarks").hidden = !items.length;
}

/** @param {number} positionS @param {number} durationS */
function showPosition(positionS, durationS) {
  say("position", positionS.toFixed(1));
  say("duration", durationS.toFixed(1));
  say("length", durationS ? `${durationS.toFixed(2)} s` : "–");
  const slider = byId("wave");
  const text = durationS ? `${positionS.toFixed(1)} of ${durationS.toFixed(1)} seconds` : "nothing yet";
  slider.setAttribute("aria-disabled", String(!durationS));
  slider.setAttribute("aria-valuemax", durationS.toFixed(1));
  slider.setAttribute("aria-valuenow", positionS.toFixed(1));
  slider.setAttribute("aria-valuetext", text);
}

/** The level of the sound; `data-dbfs` is for tests. @param {number} dbfs */
function showLevel(dbfs) {
  byId("level").dataset.dbfs = dbfs.toFixed(1);
  byId("level").style.setProperty("--level", String(Math.max(0, Math.min(1, 1 + dbfs / 50))));
}

/** @param {boolean} hasSound @param {boolean} isSounding @param {boolean} isSpeaking */
function showButtons(hasSound, isSounding, isSpeaking) {
  byId("stage").dataset.state = isSpeaking ? "speaking" : isSounding ? "playing" : "idle";
  byId("play").classList.toggle("playing", isSounding);
  byId("play").setAttribute("aria-label", isSounding ? "Pause" : "Play");
  byId("play", HTMLButtonElement).disabled = !hasSound;
  byId("download", HTMLButtonElement).disabled = !hasSound || isSpeaking;
  byId("stop", HTMLButtonElement).disabled = !isSpeaking && !isSounding;
}
