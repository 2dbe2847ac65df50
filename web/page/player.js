/**
 * Plays a clip while it grows, by Web Audio: every piece becomes a buffer that starts on the very sample where
 * the one before it ends. It does not know what is said, nor what the page looks like.
 *
 * The context runs at the clip's own rate, so the browser resamples the sum once and not each piece by itself,
 * which would be heard at the seams.
 */

const START_BUFFER_S = 0.08; // enough for a piece that comes late by a frame or two
const REFILL_BUFFER_S = 0.5; // after the sound ran out: better one pause than many
const QUIET_DBFS = -100;

/** @typedef {import("./clip.js").Clip} Clip */
/** @typedef {"idle" | "waiting" | "playing" | "paused"} PlayerState */

export class Player extends EventTarget {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {AnalyserNode | null} */ #analyser = null;
  /** @type {Clip | null} */ #clip = null;
  /** @type {Set<AudioBufferSourceNode>} */ #sources = new Set();
  /** When which part of the clip sounds. @type {{at: number, from: number, samples: number}[]} */ #spans = [];
  /** @type {PlayerState} */ #state = "idle";
  #next = 0; // the first sample of the clip that is not scheduled
  #nextAt = 0; // when it is due, in the context's seconds
  #bufferS = START_BUFFER_S;
  /** How often the sound ran out before its end. */
  stalls = 0;

  /** Fires "change" when the state does. @returns {PlayerState} */
  get state() {
    return this.#state;
  }

  get clip() {
    return this.#clip;
  }

  /**
   * Where the clip is, in seconds; headphones may be some tenths behind. `outputLatency` would tell by how much, but
   * Firefox can hang for good when it is asked while the sound starts.
   */
  get positionS() {
    if (!this.#clip || !this.#context || this.#state !== "playing") return this.#next / (this.#clip?.rateHz ?? 1);
    const now = this.#context.currentTime;
    const span = this.#spans.findLast((one) => one.at <= now) ?? this.#spans[0];
    if (!span) return this.#next / this.#clip.rateHz;
    const heard = Math.min(Math.max(0, now - span.at), span.samples / this.#clip.rateHz);
    return span.from / this.#clip.rateHz + heard;
  }

  /** Loudness of what is leaving right now, in dBFS; −100 is silence. */
  get levelDbfs() {
    if (!this.#analyser || this.#state !== "playing") return QUIET_DBFS;
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    return Math.max(QUIET_DBFS, 10 * Math.log10(power + 1e-10));
  }

  /** Browsers let sound begin only out of a gesture: call this in the handler of one. */
  unlock(rateHz = 24000) {
    if (this.#context?.sampleRate !== rateHz) {
      void this.#context?.close();
      this.#context = new AudioContext({ sampleRate: rateHz });
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.connect(this.#context.destination);
    }
    void this.#context.resume();
  }

  /** Begin a clip, which may be empty yet. @param {Clip} clip */
  start(clip) {
    this.#silence();
    this.#clip = clip;
    this.stalls = 0;
    this.#next = 0;
    this.#bufferS = START_BUFFER_S;
    this.#become("waiting");
    this.unlock(clip.rateHz);
    this.fed();
  }

  /** The clip has grown, or is complete. */
  fed() {
    if (!this.#clip || !this.#context) return;
    if (this.#state === "playing" && this.#nextAt < this.#context.currentTime) this.#ranOut();
    if (this.#state === "waiting" && this.#enough(this.#clip)) {
      this.#nextAt = 0;
      this.#become("playing");
    }
    if (this.#state === "playing") this.#schedule(this.#clip, this.#context);
    if (this.#state === "waiting" && this.#clip.complete && this.#next >= this.#clip.length) this.#become("idle");
  }

  pause() {
    if (this.#state !== "playing" && this.#state !== "waiting") return;
    const here = this.positionS;
    this.#silence();
    this.#next = Math.round(here * (this.#clip?.rateHz ?? 0));
    this.#become("paused");
  }

  /** Go on where it was paused, or from the start where it had ended. */
  play() {
    if (!this.#clip || this.#state === "playing" || this.#state === "waiting") return;
    this.unlock(this.#clip.rateHz);
    if (this.#clip.complete && this.#next >= this.#clip.length) this.#next = 0;
    this.#bufferS = START_BUFFER_S;
    this.#become("waiting");
    this.fed();
  }

  /** @param {number} seconds of the clip */
  seek(seconds) {
    if (!this.#clip) return;
    const goesOn = this.#state === "playing" || this.#state === "waiting";
    this.#silence();
    this.#next = Math.round(Math.min(Math.max(0, seconds), this.#clip.durationS) * this.#clip.rateHz);
    this.#become(goesOn ? "waiting" : "paused");
    this.fed();
  }

  /** Be silent at once, and stay where the listener was. */
  stop() {
    this.pause();
    this.#become("idle");
  }

  /** @param {Clip} clip */
  #enough(clip) {
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
    const soonest = Math.ceil((context.currentTime + 0.01) * clip.rateHz) / clip.rateHz; // on the grid of samples
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
    if (this.#clip.complete && this.#next >= this.#clip.length) this.#become("idle");
    else this.#ranOut();
  }

  #ranOut() {
    this.stalls++;
    this.#bufferS = REFILL_BUFFER_S;
    this.#become("waiting");
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
  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event("change"));
  }
}
