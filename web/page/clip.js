/** The sound of one take as it grows: 16-bit mono samples, and the peak of each hundredth of a second. */

const BINS_PER_S = 100;
const FULL_SCALE = 32768;

export class Clip {
  /** @type {Int16Array<ArrayBuffer>} */ #samples = new Int16Array(1 << 16);
  /** @type {number | null} */ #oddByte = null;
  /** Samples so far. */
  length = 0;
  /** Whether no more will come. */
  complete = false;
  /** The largest |sample| of each bin, 0 to 1. @type {number[]} */
  peaks = [];

  /** @param {number} rateHz */
  constructor(rateHz) {
    this.rateHz = rateHz;
  }

  get durationS() {
    return this.length / this.rateHz;
  }

  /** @param {Uint8Array} bytes little-endian 16-bit PCM; pieces may split a sample */
  push(bytes) {
    const joined = this.#oddByte === null ? bytes : Uint8Array.of(this.#oddByte, ...bytes);
    const count = joined.length >> 1;
    this.#oddByte = joined.length % 2 ? (joined.at(-1) ?? null) : null;
    this.#reserve(this.length + count);
    const view = new DataView(joined.buffer, joined.byteOffset, joined.byteLength);
    for (let i = 0; i < count; i++) this.#append(view.getInt16(2 * i, true));
  }

  /** All samples from an index on, as floats from −1 to 1. @param {number} from */
  floatsFrom(from) {
    return Float32Array.from(this.#samples.subarray(from, this.length), (sample) => sample / FULL_SCALE);
  }

  /** The peak of a range, 0 to 1. @param {number} fromS @param {number} toS */
  peakBetween(fromS, toS) {
    const first = Math.floor(fromS * BINS_PER_S);
    return Math.max(0, ...this.peaks.slice(first, Math.max(Math.ceil(toS * BINS_PER_S), first + 1)));
  }

  /** A WAV file: a RIFF header of 44 bytes, then the samples as received. */
  toWav() {
    const header = new DataView(new ArrayBuffer(44));
    const write = (/** @type {number} */ at, /** @type {string} */ text) =>
      [...text].forEach((char, i) => header.setUint8(at + i, char.charCodeAt(0)));
    const bytes = 2 * this.length;
    write(0, "RIFF");
    header.setUint32(4, 36 + bytes, true);
    write(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 1, true); // mono
    header.setUint32(24, this.rateHz, true);
    header.setUint32(28, 2 * this.rateHz, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    write(36, "data");
    header.setUint32(40, bytes, true);
    return new Blob([header, this.#samples.subarray(0, this.length)], { type: "audio/wav" });
  }

  /** @param {number} sample */
  #append(sample) {
    const bin = Math.floor((this.length * BINS_PER_S) / this.rateHz);
    this.peaks[bin] = Math.max(this.peaks[bin] ?? 0, Math.abs(sample) / FULL_SCALE);
    this.#samples[this.length++] = sample;
  }

  /** @param {number} length */
  #reserve(length) {
    if (length <= this.#samples.length) return;
    const larger = new Int16Array(Math.max(length, 2 * this.#samples.length));
    larger.set(this.#samples.subarray(0, this.length));
    this.#samples = larger;
  }
}
