/**
 * The stage: one take's waveform, figures and buttons, drawn for as long as something moves.
 * It does not know how a take is made; what was pressed is for others.
 */

import { button, byId, say } from "./elements.js";
import { Waveform } from "./waveform.js";

/** @typedef {import("./takes.js").Take} Take */
/** @typedef {{text: string, start: number, end: number}} Segment */

const SETTLE_MS = 900; // how long the drawing goes on after the last change

export class Stage {
  /** The take that is shown. @type {Take | null} */ take = null;
  /** Whether a request is under way. */
  isSpeaking = false;
  #wave = new Waveform(/** @type {HTMLCanvasElement} */ (byId("wave")));
  #drawUntil = 0;
  #isDrawing = false;

  /** @param {import("./player.js").Player} player */
  constructor(player) {
    this.player = player;
    player.addEventListener("change", () => this.refresh());
    new ResizeObserver(() => this.refresh()).observe(byId("wave"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
  }

  /** @param {Take | null} take */
  show(take) {
    this.take = take;
    this.#wave.show(take?.clip ?? null);
    showFigures(take);
    showRemarks(take?.reply);
    this.refresh();
  }

  /** Draw and write what has changed, and go on as long as something moves. */
  refresh() {
    this.#drawUntil = performance.now() + SETTLE_MS;
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => this.#frame());
  }

  /** Of the shown clip. @param {number} px from the waveform's left edge */
  secondsAt(px) {
    return this.#wave.secondsAt(px);
  }

  #frame() {
    const sounds = this.player.state === "playing" || this.player.state === "waiting";
    this.#isDrawing = sounds || performance.now() < this.#drawUntil;
    if (this.#isDrawing) requestAnimationFrame(() => this.#frame());
    const clip = this.take?.clip ?? null;
    const positionS = clip && this.player.clip === clip ? this.player.positionS : 0;
    const segments = this.take?.reply?.segments ?? [];
    this.#wave.draw(
      positionS,
      segments.slice(1).map((/** @type {Segment} */ one) => one.start),
    );
    showPosition(positionS, clip?.durationS ?? 0, segments);
    showLevel(this.player.levelDbfs);
    showButtons(clip !== null, sounds, this.isSpeaking);
  }
}

/** @param {Take | null} take */
function showFigures(take) {
  const metrics = take?.reply?.metrics;
  say("first", take?.firstSoundMs == null ? "–" : `${Math.round(take.firstSoundMs)} ms`);
  byId("first").title = metrics ? `in the worker ${Math.round(1000 * metrics.latency_to_first_chunk)} ms` : "";
  say("rtf", metrics ? metrics.rtf.toFixed(3) : "–");
  say("used-seed", take?.reply ? String(take.reply.seed) : "–");
}

/** What the worker warns of, and what it said where that is not what was written. @param {any} reply */
function showRemarks(reply) {
  const spoken = reply?.spoken_text ? [`Spoken as: ${reply.spoken_text}`] : [];
  const remarks = reply ? [...reply.warnings, ...spoken] : [];
  const items = remarks.map((words) => Object.assign(document.createElement("li"), { textContent: words }));
  byId("remarks").replaceChildren(...items);
  byId("remarks").hidden = !items.length;
}

/** @param {number} positionS @param {number} durationS @param {Segment[]} segments */
function showPosition(positionS, durationS, segments) {
  say("position", positionS.toFixed(1));
  say("duration", durationS.toFixed(1));
  say("length", durationS ? `${durationS.toFixed(2)} s` : "–");
  say("caption", segments.find((one) => positionS >= one.start && positionS < one.end)?.text ?? "");
  const slider = byId("wave");
  const words = durationS ? `${positionS.toFixed(1)} of ${durationS.toFixed(1)} seconds` : "nothing yet";
  slider.setAttribute("aria-disabled", String(!durationS));
  slider.setAttribute("aria-valuemax", durationS.toFixed(1));
  slider.setAttribute("aria-valuenow", positionS.toFixed(1));
  slider.setAttribute("aria-valuetext", words);
}

/** The loudness of what is leaving; `data-dbfs` is for tests too. @param {number} dbfs */
function showLevel(dbfs) {
  byId("level").dataset.dbfs = dbfs.toFixed(1);
  byId("level").style.setProperty("--level", String(Math.max(0, Math.min(1, 1 + dbfs / 50))));
}

/** @param {boolean} hasSound @param {boolean} sounds @param {boolean} isSpeaking */
function showButtons(hasSound, sounds, isSpeaking) {
  byId("stage").dataset.state = isSpeaking ? "speaking" : sounds ? "playing" : "idle";
  byId("play").classList.toggle("playing", sounds);
  byId("play").setAttribute("aria-label", sounds ? "Pause" : "Play");
  button("play").disabled = !hasSound;
  button("download").disabled = !hasSound || isSpeaking;
  button("stop").disabled = !isSpeaking && !sounds;
}
