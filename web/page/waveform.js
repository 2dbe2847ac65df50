/** Draws a clip: bars as it grows, the played part in the accent colour, a scale in seconds below. */

/** @typedef {import("./clip.js").Clip} Clip */

const BAR_PX = 3;
const STEP_PX = 5;
const SCALE_PX = 18;
const SHORTEST_SPAN_S = 3; // the first words of a take do not fill the width
const ROOM = 1.25; // a growing clip has empty room to its right
const TICKS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300];
const TICK_EVERY_PX = 64;
const MARK_EVERY_PX = 14;

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Waveform {
  #context;
  #spanS = SHORTEST_SPAN_S;
  /** @type {Clip | null} */ #clip = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.#context = fitted(canvas);
  }

  /** @param {Clip | null} clip */
  show(clip) {
    this.#clip = clip;
    this.#spanS = this.#wantedSpan();
  }

  /** @param {number} positionS @param {number[]} marksS starts of segments */
  draw(positionS, marksS = []) {
    this.#context = fitted(this.canvas);
    this.#ease();
    const { width, height } = box(this.canvas);
    const tone = tones(this.canvas);
    const bars = { clip: this.#clip, spanS: this.#spanS, width, height: height - SCALE_PX };
    this.#context.clearRect(0, 0, width, height);
    drawBars(this.#context, bars, tone.rest, tone.empty);
    const playedPx = (positionS / this.#spanS) * width;
    if (this.#clip && positionS > 0) this.#drawPlayed(bars, playedPx, tone);
    this.#drawScale(width, height, tone, marksS);
    this.canvas.dataset.drawnS = (this.#clip?.durationS ?? 0).toFixed(2);
    this.canvas.dataset.positionS = positionS.toFixed(3);
  }

  /** The time in the clip at a place. @param {number} px from the canvas's left edge */
  secondsAt(px) {
    return Math.max(0, Math.min((px / box(this.canvas).width) * this.#spanS, this.#clip?.durationS ?? 0));
  }

  #wantedSpan() {
    if (!this.#clip) return SHORTEST_SPAN_S;
    if (this.#clip.complete) return Math.max(this.#clip.durationS, 0.1);
    const wanted = Math.max(SHORTEST_SPAN_S, this.#clip.durationS * ROOM);
    return reducedMotion.matches ? (TICKS_S.find((seconds) => seconds >= wanted) ?? wanted) : wanted;
  }

  #ease() {
    const wanted = this.#wantedSpan();
    const isClose = Math.abs(wanted - this.#spanS) < 0.002 * wanted;
    this.#spanS = reducedMotion.matches || isClose ? wanted : this.#spanS + (wanted - this.#spanS) * 0.12;
  }

  /** @param {Bars} bars @param {number} playedPx @param {Tones} tone */
  #drawPlayed(bars, playedPx, tone) {
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(0, 0, playedPx, bars.height);
    context.clip();
    context.clearRect(0, 0, playedPx, bars.height);
    drawBars(context, bars, tone.played, tone.played);
    context.restore();
    context.fillStyle = tone.played;
    context.fillRect(Math.min(playedPx, bars.width - 1.5), 0, 1.5, bars.height);
  }

  /** @param {number} width @param {number} height @param {Tones} tone @param {number[]} marksS */
  #drawScale(width, height, tone, marksS) {
    const context = this.#context;
    const stepS = TICKS_S.find((seconds) => (seconds / this.#spanS) * width >= TICK_EVERY_PX) ?? 600;
    context.fillStyle = tone.scale;
    context.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    context.textBaseline = "bottom";
    for (let at = 0; at < this.#spanS; at += stepS) {
      const x = (at / this.#spanS) * width;
      const label = `${+at.toFixed(1)} s`;
      if (x + context.measureText(label).width <= width) context.fillText(label, x, height);
    }
    if (marksS.length * MARK_EVERY_PX > width) return; // too dense to read
    for (const at of marksS) {
      context.fillRect(Math.round((at / this.#spanS) * width), height - SCALE_PX - 3, 1.5, 6);
    }
  }
}

/** The whole clip, small. @param {HTMLCanvasElement} canvas @param {Clip} clip */
export function sketch(canvas, clip) {
  const context = fitted(canvas);
  const { width, height } = box(canvas);
  const tone = tones(canvas);
  context.clearRect(0, 0, width, height);
  drawBars(context, { clip, spanS: Math.max(clip.durationS, 0.1), width, height }, tone.rest, tone.empty);
}

/** @typedef {{clip: Clip | null, spanS: number, width: number, height: number}} Bars */
/** @typedef {{played: string, rest: string, empty: string, scale: string}} Tones */

/** @param {CanvasRenderingContext2D} context @param {Bars} bars @param {string} tone @param {string} emptyTone */
function drawBars(context, { clip, spanS, width, height }, tone, emptyTone) {
  const pxToS = spanS / width;
  for (let x = 0; x + BAR_PX <= width; x += STEP_PX) {
    const hasSound = clip !== null && x * pxToS < clip.durationS;
    const peak = hasSound ? clip.peakBetween(x * pxToS, (x + STEP_PX) * pxToS) : 0;
    const barHeight = Math.max(BAR_PX, peak ** 0.7 * height * 0.96); // lifted: speech is mostly quiet
    context.fillStyle = hasSound ? tone : emptyTone;
    context.beginPath();
    context.roundRect(x, (height - barHeight) / 2, BAR_PX, barHeight, BAR_PX / 2);
    context.fill();
  }
}

/** @param {HTMLCanvasElement} canvas @returns {Tones} */
function tones(canvas) {
  const style = getComputedStyle(canvas);
  const tone = (/** @type {string} */ name) => style.getPropertyValue(name);
  return { played: tone("--accent"), rest: tone("--wave"), empty: tone("--wave-empty"), scale: tone("--muted") };
}

/** In CSS pixels. @param {HTMLCanvasElement} canvas */
function box(canvas) {
  return { width: canvas.clientWidth, height: canvas.clientHeight };
}

/** A canvas at the screen's resolution whose unit is a CSS pixel. @param {HTMLCanvasElement} canvas */
function fitted(canvas) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const scale = devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}
