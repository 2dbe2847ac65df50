/** The page: connects its parts, and follows one request from the button to the last sample. */

import * as capabilities from "./capabilities.js";
import { Clip } from "./clip.js";
import { byId, say } from "./elements.js";
import * as form from "./form.js";
import { askKey, withKey } from "./key.js";
import { Player } from "./player.js";
import { Recording } from "./recording.js";
import { Stage } from "./stage.js";
import { Takes } from "./takes.js";
import * as worker from "./worker.js";

/** @typedef {import("./takes.js").Take} Take */

/** @type {Record<string, string>} */
const ENDINGS = { pcm_s16le: "pcm", mulaw: "wav", alaw: "wav", mulaw_raw: "ul", alaw_raw: "al", pcm_f32le: "f32" };

const player = new Player();
const stage = new Stage(player, (seconds) => playFrom(seconds));
const takes = new Takes(byId("history"), { play: (take) => replay(take), reuse, save: (take) => void save(take) });
const recordings = { source_audio: recording("source_audio", 600), reference_audio: recording("reference_audio", 30) };

/** Of the request in progress. @type {AbortController | null} */ let current = null;

/** @param {string} field @param {number} longestS that the microphone records */
function recording(field, longestS) {
  return new Recording(field, longestS, (message) => {
    if (message) form.markOne({ field, message });
    else form.unmarkOne(field);
  });
}

// --- speaking --------------------------------------------------------------------------------------------

async function speak() {
  stop("");
  complain("");
  form.unmark();
  const faults = form.ownFaults();
  /** @type {worker.Recordings} */ const sent = {};
  for (const { name, file } of Object.values(recordings).filter(({ isAsked }) => isAsked)) {
    if (file) sent[name] = file;
    else faults.push({ field: name, message: "is missing: choose a file or record one" });
  }
  if (faults.length) return void form.mark(faults);
  player.unlock();
  const previous = stage.take;
  const take = takes.begin(form.fields(), sent);
  const controller = new AbortController();
  current = controller;
  stage.isSpeaking = true;
  show(null);
  say("status", "Waiting for the first sound…");
  try {
    await withKey(() => receive(take, controller.signal));
    say("status", `Done: ${take.clip?.durationS.toFixed(1) ?? 0} s of sound${stalled()}.`);
  } catch (error) {
    if (!controller.signal.aborted) showError(error);
  } finally {
    if (current === controller) current = null;
    stage.isSpeaking = current !== null;
    finish(take);
    if (!stage.take && !current) show(previous); // this one has no sound
  }
}

/** @param {Take} take @param {AbortSignal} signal */
async function receive(take, signal) {
  const askedAt = performance.now();
  for await (const event of worker.speak(take.fields, take.recordings, signal)) {
    if (event.name === "audio") push(take, event.data, performance.now() - askedAt);
    else if (event.name === "end") {
      take.reply = event.data;
      take.words = event.data.words ?? take.words;
    }
  }
}

/** @param {Take} take @param {worker.AudioPiece} piece @param {number} afterMs */
function push(take, piece, afterMs) {
  const isFirst = take.clip === null;
  const clip = (take.clip ??= new Clip(piece.sample_rate));
  clip.push(worker.bytesOf(piece.audio));
  take.words.push(...(piece.words ?? []));
  if (isFirst) {
    take.firstSoundMs = afterMs;
    player.start(clip);
    takes.keep(take);
    show(take);
    say("status", `Speaking; first sound after ${Math.round(afterMs)} ms.`);
  }
  if (player.clip === clip) player.fed();
  stage.refresh();
}

/** The request of a take has ended, well or not. @param {Take} take */
function finish(take) {
  take.over = true;
  if (take.clip) take.clip.complete = true;
  if (take.clip && player.clip === take.clip) player.fed();
  if (stage.take === take) show(take);
}

/** Cancels the request and silences the player. @param {string} status */
function stop(status) {
  const wasBusy = current !== null || player.state !== "idle";
  current?.abort();
  current = null;
  stage.isSpeaking = false;
  player.stop();
  for (const each of Object.values(recordings)) each.stopRecording();
  if (wasBusy && status) say("status", status);
  stage.refresh();
}

const stalled = () =>
  player.stalls ? `; it ran out ${player.stalls === 1 ? "once" : `${player.stalls} times`} on the way` : "";

/** At the fields it is about, the rest in the alert. @param {unknown} error */
function showError(error) {
  if (!(error instanceof worker.Refusal)) throw error;
  say("status", stage.take?.over === false ? "Not spoken to the end." : "Not done.");
  const rest = form.mark(error.faults);
  complain(error.faults.length ? rest.map((it) => `${it.field} ${it.message}`.trim()).join("; ") : error.message);
}

/** Shows a take on the stage and marks it in the list. @param {Take | null} take */
function show(take) {
  stage.show(take);
  takes.show(take);
}

/** @param {string} message "" for none */
function complain(message) {
  say("alert", message);
  byId("alert").hidden = !message;
}

// --- takes -----------------------------------------------------------------------------------------------

/** @param {Take} take */
function replay(take) {
  if (!take.clip) return;
  player.start(take.clip);
  show(take);
  say("status", `Take ${take.number} again.`);
}

/** @param {Take} take */
function reuse(take) {
  const seed = take.reply?.seed ?? "";
  form.reset();
  form.put({ ...take.fields, seed });
  const { source_audio, reference_audio } = take.recordings;
  form.radio("operation", String(take.fields.operation)).checked = true;
  form.radio("voice_mode", reference_audio ? "clone" : "predefined").checked = true;
  capabilities.showValues();
  if (source_audio) recordings.source_audio.use(source_audio);
  if (reference_audio) recordings.reference_audio.use(reference_audio);
  form.remember();
  byId(source_audio ? "speak" : "text").focus();
  say("status", `${source_audio ? "Recording" : "Text"} and settings of take ${take.number}, with its seed.`);
}

/** @param {Take} take */
async function save(take) {
  const format = form.chosen("output_format");
  if (!take.clip) return;
  form.unmark();
  complain("");
  if (format !== "wav" && !take.reply)
    return complain(`Take ${take.number} was not spoken to its end: it can only be saved as WAV.`);
  try {
    const file = take.reply && format !== "wav" ? await inFormat(format, take, take.reply) : take.clip.toWav();
    download(file, `take-${take.number}.${ENDINGS[format] ?? format}`);
    say("status", `Take ${take.number} saved as ${format}.`);
  } catch (error) {
    showError(error);
  }
}

/**
 * Makes a take again: the same seed and decode mode give the same sound.
 * @param {string} format @param {Take} take @param {worker.Reply} reply
 */
async function inFormat(format, { number, files, fields, recordings: sent }, { seed, parameters }) {
  const made = files.get(format);
  if (made) return made;
  say("status", `Making take ${number} as ${format}…`);
  const same = { seed, decode_mode: parameters.decode_mode, output_format: format };
  const file = await withKey(() => worker.file({ ...fields, ...same }, sent));
  files.set(format, file);
  return file;
}

/**
 * Saves plain bytes: Firefox changes the ending of a type that it knows (.opus to .ogx).
 * @param {Blob} file @param {string} name
 */
function download(file, name) {
  const bytes = new Blob([file], { type: "application/octet-stream" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(bytes), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may read it some time after the click
}

// --- controls --------------------------------------------------------------------------------------------

function togglePlay() {
  if (!stage.take?.clip) return;
  if (player.clip !== stage.take.clip) player.start(stage.take.clip);
  else if (player.state === "playing" || player.state === "waiting") player.pause();
  else player.play();
}

/** @param {number} seconds */
function seek(seconds) {
  if (!stage.take?.clip) return;
  if (player.clip !== stage.take.clip) player.start(stage.take.clip);
  player.seek(seconds);
  stage.refresh();
}

/** @param {number} seconds */
function playFrom(seconds) {
  seek(seconds);
  player.play();
}

/** @param {KeyboardEvent} event */
function onWaveKey(event) {
  const nowS = player.positionS;
  const to = { ArrowLeft: nowS - 1, ArrowRight: nowS + 1, Home: 0, End: stage.take?.clip?.durationS ?? 0 }[event.key];
  if (event.key === " ") togglePlay();
  else if (to !== undefined) seek(to);
  else return;
  event.preventDefault();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (document.querySelector("dialog[open]")) return; // the dialog has its own keys
  if (event.key === "Escape") stop("Stopped.");
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  void speak();
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  void speak();
});
byId("ask").addEventListener("input", (event) => {
  const name = event.target instanceof HTMLElement ? event.target.getAttribute("name") : null;
  if (name) form.unmarkOne(name);
  form.remember();
  capabilities.showValues();
  for (const each of Object.values(recordings)) if (!each.isAsked) each.stopRecording();
});
byId("stop").addEventListener("click", () => stop("Stopped."));
byId("play").addEventListener("click", togglePlay);
byId("download").addEventListener("click", () => stage.take && void save(stage.take));
byId("reset").addEventListener("click", () => {
  form.reset();
  form.remember();
  capabilities.showValues();
});
byId("api").addEventListener("click", async (event) => {
  if (!worker.hasKey()) return; // the link works without; it can't carry a key
  event.preventDefault();
  download(await withKey(worker.description), "openapi.json");
});
byId("change-key").addEventListener("click", async () => {
  if (await askKey()) await capabilities.connect(recordings);
});
byId("wave").addEventListener("keydown", onWaveKey);
byId("wave").addEventListener("click", (event) => playFrom(stage.secondsAt(event.offsetX)));
document.addEventListener("keydown", onKey);
form.recall();
capabilities.showValues();
void capabilities.connect(recordings);
