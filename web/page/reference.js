/**
 * The recording whose voice is spoken with: a file chosen or dropped, or the microphone, with a preview.
 * It does not know what the worker makes of it.
 */

import { byId, input } from "./elements.js";

const LONGEST_S = 30;
const SHORTEST_S = 1;
/** What browsers record to: most WebM, an older Firefox Ogg, Safari MP4. @type {Record<string, string>} */
const ENDINGS = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" };

export class Reference {
  /** @type {File | null} */ file = null;
  #url = "";
  /** @type {MediaRecorder | null} */ #recorder = null;

  /** @param {(message: string) => void} complain shows a fault; "" takes it away */
  constructor(complain) {
    this.complain = complain;
    /** @type {number | null} */
    this.largestBytes = null; // until the worker has told
    byId("reference_audio").addEventListener("change", () => this.#picked(input("reference_audio").files));
    byId("record").addEventListener("click", () => void (this.#recorder ? this.#recorder.stop() : this.#record()));
    byId("forget").addEventListener("click", () => {
      this.#take(null);
      byId("record").focus();
    });
    this.#acceptDrops(byId("drop"));
  }

  /** Take a recording that was used before. @param {File} file */
  use(file) {
    this.#take(file);
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
      this.#picked(event.dataTransfer?.files ?? null);
    });
  }

  /** @param {FileList | null} files */
  #picked(files) {
    if (files?.length) this.#take(files[0]);
    input("reference_audio").value = ""; // or the same file could not be chosen again
  }

  /** @param {File | null} file @param {number} [durationS] where the file itself does not tell */
  #take(file, durationS) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    const tooLarge = file && this.largestBytes && file.size > this.largestBytes;
    this.complain(tooLarge ? `has ${inBytes(file.size)}; the worker takes ${inBytes(this.largestBytes ?? 0)}` : "");
    this.file = tooLarge ? null : file;
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
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((fault) => fault);
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
      const type = recorder.mimeType.split(";")[0];
      this.#take(new File(pieces, `recording.${ENDINGS[type] ?? "webm"}`, { type }), durationS);
    };
    this.#recorder = recorder;
    this.#showRecording(true);
    recorder.start(); // in one piece: joined ones of WebKit break off in the middle
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
 * Moves the level meter until closed.
 * @param {MediaStream} stream @param {() => number} seconds so far @param {() => void} full the time is up
 */
function metering(stream, seconds, full) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    /** @type {HTMLMeterElement} */ (byId("microphone")).value = peak ** 0.5;
    byId("recorded").textContent = `${seconds().toFixed(0)} of ${LONGEST_S} s at most`;
    if (seconds() >= LONGEST_S) full();
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
