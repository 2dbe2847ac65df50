/**
 * Plays a clip while it grows, by Web Audio: every piece becomes a buffer that starts on the sample where the previous
 * one ends.
 *
 * The context runs at the clip's rate: the browser resamples the sum once, not each piece, so the joints are inaudible.
 */

const START_BUFFER_S = 0.08; // covers a piece that is late by a frame or two
const REFILL_BUFFER_S = 0.5; // after an underrun: one long pause instead of many short ones
const QUIET_DBFS = -100;

/** @typedef {import("./clip.js").Clip} Clip */
/** @typedef {"idle" | "waiting" | "playing" | "paused"} PlayerState */

export class Player extends EventTarget {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {AnalyserNode | null} */ #analyser = null;
  /** @type {Clip | null} */ #clip = null;
  /** @type {Set<AudioBufferSourceNode>} */ #sources = new Set();
  /** What is scheduled; `at` in context seconds. @type {{at: number, from: number, samples: number}[]} */ #spans = [];
  /** @type {PlayerState} */ #state = "idle";
  #next = 0; // first sample that is not scheduled
  #nextAt = 0; // its context time in seconds; 0: as soon as possible
  #bufferS = START_BUFFER_S;
  /** Underruns of this clip. */
  stalls = 0;

  /** A change of it fires "change". @returns {PlayerState} */
  get state() {
    return this.#state;
  }

  get clip() {
    return this.#clip;
  }

  /**
   * Position in the clip; headphones may lag by some tenths of a second. `outputLatency` is that lag, but reading it
   * while the sound starts can hang Firefox for good.
   */
  get positionS() {
    if (!this.#clip || !this.#context || this.#state !== "playing") return this.#next / (this.#clip?.rateHz ?? 1);
    const now = this.#context.currentTime;
    const span = this.#spans.findLast(({ at }) => at <= now) ?? this.#spans[0];
    if (!span) return this.#next / this.#clip.rateHz;
    const played = Math.min(Math.max(0, now - span.at), span.samples / this.#clip.rateHz);
    return span.from / this.#clip.rateHz + played;
  }

  /** RMS level of the sound playing now; −100 for silence. */
  get levelDbfs() {
    if (!this.#analyser || this.#state !== "playing") return QUIET_DBFS;
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    return Math.max(QUIET_DBFS, 10 * Math.log10(power + 1e-10));
  }

  /** Call this in the handler of a user gesture: browsers start sound only there. */
  unlock(rateHz = 24000) {
    if (this.#context?.sampleRate !== rateHz) {
      void this.#context?.close();
      this.#context = new AudioContext({ sampleRate: rateHz });
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.connect(this.#context.destination);
    }
    void this.#context.resume();
  }

  /** Plays a clip from its start; it may still be empty. @param {Clip} clip */
  start(clip) {
    this.#silence();
    this.#clip = clip;
    this.stalls = 0;
    this.#next = 0;
    this.#bufferS = START_BUFFER_S;
    this.#setState("waiting");
    this.unlock(clip.rateHz);
    this.fed();
  }

  /** Call this when the clip has grown or is complete. */
  fed() {
    if (!this.#clip || !this.#context) return;
    if (this.#state === "playing" && this.#nextAt < this.#context.currentTime) this.#underrun();
    if (this.#state === "waiting" && this.#isBuffered(this.#clip)) {
      this.#nextAt = 0;
      this.#setState("playing");
    }
    if (this.#state === "playing") this.#schedule(this.#clip, this.#context);
    if (this.#state === "waiting" && this.#clip.complete && this.#next >= this.#clip.length) this.#setState("idle");
  }

  pause() {
    if (this.#state !== "playing" && this.#state !== "waiting") return;
    const here = this.positionS;
    this.#silence();
    this.#next = Math.round(here * (this.#clip?.rateHz ?? 0));
    this.#setState("paused");
  }

  /** Resumes, or restarts a clip that has ended. */
  play() {
    if (!this.#clip || this.#state === "playing" || this.#state === "waiting") return;
    this.unlock(this.#clip.rateHz);
    if (this.#clip.complete && this.#next >= this.#clip.length) this.#next = 0;
    this.#bufferS = START_BUFFER_S;
    this.#setState("waiting");
    this.fed();
  }

  /** @param {number} seconds */
  seek(seconds) {
    if (!this.#clip) return;
    const wasPlaying = this.#state === "playing" || this.#state === "waiting";
    this.#silence();
    this.#next = Math.round(Math.min(Math.max(0, seconds), this.#clip.durationS) * this.#clip.rateHz);
    this.#setState(wasPlaying ? "waiting" : "paused");
    this.fed();
  }

  /** Silences the clip and keeps its position. */
  stop() {
    this.pause();
    this.#setState("idle");
  }

  /** @param {Clip} clip */
  #isBuffered(clip) {
    const ready = clip.length - this.#next;
    return ready > 0 && (clip.complete || ready >= this.#bufferS * clip.rateHz);
  }

  /** @param {Clip} clip @param {AudioContext} context */
  #schedule(clip, context) {
    const samples = clip.floatsFrom(this.#next);
    if (!samples.length) return;
    const buffer = context.createBuffer(1, samples.length, clip.rateHz);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(/** @type {AnalyserNode} */ (this.#analyser));
    const soonest = Math.ceil((context.currentTime + 0.01) * clip.rateHz) / clip.rateHz; // on the sample grid
    const at = this.#nextAt || soonest;
    source.start(at);
    source.onended = () => this.#ended(source);
    this.#sources.add(source);
    this.#spans.push({ at, from: this.#next, samples: samples.length });
    this.#next = clip.length;
    this.#nextAt = at + samples.length / clip.rateHz;
  }

  /** @param {AudioBufferSourceNode} source */
  #ended(source) {
    this.#sources.delete(source);
    if (this.#sources.size || this.#state !== "playing" || !this.#clip) return;
    if (this.#clip.complete && this.#next >= this.#clip.length) this.#setState("idle");
    else this.#underrun();
  }

  #underrun() {
    this.stalls++;
    this.#bufferS = REFILL_BUFFER_S;
    this.#setState("waiting");
  }

  #silence() {
    for (const source of this.#sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.#sources.clear();
    this.#spans = [];
    this.#nextAt = 0;
  }

  /** @param {PlayerState} state */
  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("change"));
  }
}
