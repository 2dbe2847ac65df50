/**
 * The sound of one take as it grows: 16-bit mono samples, and how loud each hundredth of a second is.
 * It does not know where the sound comes from, nor who plays or draws it.
 */

const BINS_PER_S = 100;
const FULL_SCALE = 32768;

export class Clip {
  /** @type {Int16Array<ArrayBuffer>} */ #samples = new Int16Array(1 << 16);
  /** @type {number | null} */ #oddByte = null;
  #length = 0;
  #complete = false;
  /** The largest |sample| of each bin, 0…1. @type {number[]} */
  peaks = [];

  /** @param {number} rateHz */
  constructor(rateHz) {
    this.rateHz = rateHz;
  }

  /** In samples. */
  get length() {
    return this.#length;
  }

  get durationS() {
    return this.#length / this.rateHz;
  }

  /** Whether no more will come. */
  get complete() {
    return this.#complete;
  }

  /** @param {Uint8Array} bytes little-endian 16-bit PCM; a sample may be cut between two pieces */
  push(bytes) {
    const joined = this.#oddByte === null ? bytes : Uint8Array.of(this.#oddByte, ...bytes);
    const count = joined.length >> 1;
    this.#oddByte = joined.length % 2 ? joined[joined.length - 1] : null;
    this.#reserve(this.#length + count);
    const view = new DataView(joined.buffer, joined.byteOffset, joined.byteLength);
    for (let i = 0; i < count; i++) this.#append(view.getInt16(2 * i, true));
  }

  finish() {
    this.#complete = true;
  }

  /** @param {number} from in samples @returns {Float32Array<ArrayBuffer>} everything from there, −1…1 */
  floatsFrom(from) {
    return Float32Array.from(this.#samples.subarray(from, this.#length), (sample) => sample / FULL_SCALE);
  }

  /** The loudest of a stretch, 0…1. @param {number} fromS @param {number} toS */
  peakBetween(fromS, toS) {
    let loudest = 0;
    const end = Math.min(this.peaks.length, Math.max(Math.ceil(toS * BINS_PER_S), Math.floor(fromS * BINS_PER_S) + 1));
    for (let bin = Math.floor(fromS * BINS_PER_S); bin < end; bin++) loudest = Math.max(loudest, this.peaks[bin]);
    return loudest;
  }

  /** A WAV file: the 44 bytes of a RIFF header before the samples as they came. */
  toWav() {
    const header = new DataView(new ArrayBuffer(44));
    const words = (/** @type {number} */ at, /** @type {string} */ text) =>
      [...text].forEach((char, i) => header.setUint8(at + i, char.charCodeAt(0)));
    const bytes = 2 * this.#length;
    words(0, "RIFF");
    header.setUint32(4, 36 + bytes, true);
    words(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 1, true); // mono
    header.setUint32(24, this.rateHz, true);
    header.setUint32(28, 2 * this.rateHz, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    words(36, "data");
    header.setUint32(40, bytes, true);
    return new Blob([header, this.#samples.subarray(0, this.#length)], { type: "audio/wav" });
  }

  /** @param {number} sample */
  #append(sample) {
    const bin = Math.floor((this.#length * BINS_PER_S) / this.rateHz);
    this.peaks[bin] = Math.max(this.peaks[bin] ?? 0, Math.abs(sample) / FULL_SCALE);
    this.#samples[this.#length++] = sample;
  }

  /** @param {number} length */
  #reserve(length) {
    if (length <= this.#samples.length) return;
    const larger = new Int16Array(Math.max(length, 2 * this.#samples.length));
    larger.set(this.#samples.subarray(0, this.#length));
    this.#samples = larger;
  }
}
