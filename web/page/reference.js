/** The recording whose voice is cloned: a file, chosen or dropped, or the microphone; with a preview. */

import { byId } from "./elements.js";

const LONGEST_S = 30;
const SHORTEST_S = 1;
/** What browsers record: most WebM, older Firefox Ogg, Safari MP4. @type {Record<string, string>} */
const ENDINGS = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" };

export class Reference {
  /** @type {File | null} */ file = null;
  #url = "";
  /** @type {MediaRecorder | null} */ #recorder = null;

  /** The worker's limit, once it is known. @type {number | null} */ maxBytes = null;
  #picker = byId("reference_audio", HTMLInputElement);

  /** @param {(message: string) => void} complain shows a fault; "" removes it */
  constructor(complain) {
    this.complain = complain;
    this.#picker.addEventListener("change", () => this.#pick(this.#picker.files));
    byId("record").addEventListener("click", () => void (this.#recorder ? this.#recorder.stop() : this.#record()));
    byId("forget").addEventListener("click", () => {
      this.use(null);
      byId("record").focus();
    });
    this.#acceptDrops(byId("drop"));
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
      this.#pick(event.dataTransfer?.files ?? null);
    });
  }

  /** @param {FileList | null} files */
  #pick(files) {
    if (files?.[0]) this.use(files[0]);
    this.#picker.value = ""; // or the same file could not be chosen again
  }

  /** Null removes the recording. @param {File | null} file @param {number} [durationS] of a new recording */
  use(file, durationS) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    const maxBytes = this.maxBytes ?? Infinity;
    const isTooLarge = file !== null && file.size > maxBytes;
    this.complain(isTooLarge ? `has ${inBytes(file.size)}; the worker takes ${inBytes(maxBytes)}` : "");
    this.file = isTooLarge ? null : file;
    this.#url = this.file ? URL.createObjectURL(this.file) : "";
    byId("chosen").hidden = !this.file;
    if (!this.file) return byId("preview").removeAttribute("src");
    byId("preview").setAttribute("src", this.#url);
    byId("chosen-name").textContent = this.file.name;
    byId("chosen-size").textContent = (durationS ? `${durationS.toFixed(1)} s, ` : "") + inBytes(this.file.size);
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
    const meter = metering(stream, seconds, () => recorder.stop());
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      const durationS = seconds();
      meter.close();
      stream.getTracks().forEach((track) => track.stop());
      this.#recorder = null;
      this.#showRecording(false);
      if (durationS < SHORTEST_S) return this.complain("was too short; the worker needs a second of sound");
      const [type = ""] = recorder.mimeType.split(";");
      this.use(new File(pieces, `recording.${ENDINGS[type] ?? "webm"}`, { type }), durationS);
    };
    this.#recorder = recorder;
    this.#showRecording(true);
    recorder.start(); // one piece: several, joined, are cut short in WebKit
  }

  /** @param {boolean} on */
  #showRecording(on) {
    byId("record").textContent = on ? "Stop" : "Record";
    byId("record").classList.toggle("live", on);
    byId("recording").hidden = !on;
    byId("reference-note").hidden = on;
  }
}

/**
 * Shows the microphone's level until closed.
 * @param {MediaStream} stream @param {() => number} seconds recorded @param {() => void} onFull at LONGEST_S
 */
function metering(stream, seconds, onFull) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    byId("microphone", HTMLMeterElement).value = peak ** 0.5;
    byId("recorded").textContent = `${seconds().toFixed(0)} of ${LONGEST_S} s at most`;
    if (seconds() >= LONGEST_S) onFull();
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
