/** A recording for a request: a file, chosen or dropped, or the microphone; with a preview. */

import { byId, find } from "./elements.js";

/** What browsers record: most WebM, older Firefox Ogg, Safari MP4. @type {Record<string, string>} */
const ENDINGS = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" };

export class Recording {
  /** @type {File | null} */ file = null;
  #url = "";
  /** @type {MediaRecorder | null} */ #recorder = null;

  /** The worker's limit, once it is known. @type {number | null} */ maxBytes = null;
  shortestS = 1;
  /** @type {HTMLElement} */ #drop;

  /**
   * @param {string} name of the field; its place in the page is `${name}-drop`
   * @param {number} longestS that the microphone records
   * @param {(message: string) => void} complain shows a fault; "" removes it
   */
  constructor(name, longestS, complain) {
    this.name = name;
    this.longestS = longestS;
    this.complain = complain;
    this.#drop = byId(`${name}-drop`);
    this.#drop.prepend(byId("recorder", HTMLTemplateElement).content.cloneNode(true));
    find(this.#drop, ".row").after(byId(`${name}-note`));
    const picker = find(this.#drop, "input", HTMLInputElement);
    picker.id = find(this.#drop, "label", HTMLLabelElement).htmlFor = name;
    picker.setAttribute("aria-describedby", `${name}-note ${name}-error`);
    picker.addEventListener("change", () => {
      if (picker.files?.[0]) this.use(picker.files[0]);
      picker.value = ""; // or the same file could not be chosen again
    });
    const record = find(this.#drop, ".record");
    record.addEventListener("click", () => void (this.#recorder ? this.#recorder.stop() : this.#record()));
    find(this.#drop, ".forget").addEventListener("click", () => {
      this.use(null);
      record.focus();
    });
    this.#acceptDrops(this.#drop);
  }

  /** Whether the form asks for it now. */
  get isAsked() {
    return !this.#drop.closest("[hidden]");
  }

  stopRecording() {
    this.#recorder?.stop();
  }

  /** @param {HTMLElement} zone */
  #acceptDrops(zone) {
    for (const name of ["dragenter", "dragover"]) {
      zone.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.add("over");
      });
    }
    for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) this.use(file);
    });
  }

  /** Null removes the recording. @param {File | null} file @param {number} [durationS] of a new recording */
  use(file, durationS) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    const maxBytes = this.maxBytes ?? Infinity;
    const isTooLarge = file !== null && file.size > maxBytes;
    this.complain(isTooLarge ? `has ${inBytes(file.size)}; the worker takes ${inBytes(maxBytes)}` : "");
    this.file = isTooLarge ? null : file;
    this.#url = this.file ? URL.createObjectURL(this.file) : "";
    const chosen = find(this.#drop, ".chosen");
    chosen.hidden = !this.file;
    if (!this.file) return find(chosen, "audio").removeAttribute("src");
    find(chosen, "audio").setAttribute("src", this.#url);
    find(chosen, "b").textContent = this.file.name;
    find(chosen, ".note").textContent = (durationS ? `${durationS.toFixed(1)} s, ` : "") + inBytes(this.file.size);
  }

  async #record() {
    this.complain("");
    if (!navigator.mediaDevices) return this.complain("can only be recorded over https or on localhost; choose a file");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => error);
    if (!(stream instanceof MediaStream)) {
      return this.complain(stream.name === "NotFoundError" ? "no microphone was found" : "the microphone was refused");
    }
    const recorder = new MediaRecorder(stream);
    /** @type {Blob[]} */ const pieces = [];
    const startedAt = performance.now();
    const seconds = () => (performance.now() - startedAt) / 1000;
    const meter = metering(stream, (peak) => {
      this.#showLevel(peak, seconds());
      if (seconds() >= this.longestS) recorder.stop();
    });
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      const durationS = seconds();
      meter.close();
      stream.getTracks().forEach((track) => track.stop());
      this.#recorder = null;
      this.#showRecording(false);
      if (durationS < this.shortestS)
        return this.complain(`was too short; the worker needs ${this.shortestS} s of sound`);
      const [type = ""] = recorder.mimeType.split(";");
      this.use(new File(pieces, `recording.${ENDINGS[type] ?? "webm"}`, { type }), durationS);
    };
    this.#recorder = recorder;
    this.#showRecording(true);
    recorder.start(); // one piece: several, joined, are cut short in WebKit
  }

  /** @param {number} peak @param {number} seconds recorded so far */
  #showLevel(peak, seconds) {
    find(this.#drop, "meter", HTMLMeterElement).value = peak ** 0.5;
    find(this.#drop, "[role=timer]").textContent = `${seconds.toFixed(0)} of ${this.longestS} s at most`;
  }

  /** @param {boolean} on */
  #showRecording(on) {
    find(this.#drop, ".record").textContent = on ? "Stop" : "Record";
    find(this.#drop, ".record").classList.toggle("live", on);
    find(this.#drop, ".recording").hidden = !on;
    byId(`${this.name}-note`).hidden = on;
  }
}

/**
 * Tells the microphone's peak, twelve times a second, until closed.
 * @param {MediaStream} stream @param {(peak: number) => void} onPeak
 */
function metering(stream, onPeak) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    onPeak(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  }, 80);
  return {
    close() {
      clearInterval(timer);
      void context.close();
    },
  };
}

/** @param {number} bytes */
function inBytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
