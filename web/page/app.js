/**
 * The page: puts the parts together, and follows one request from the button to the last sample.
 * It knows the page's elements; what is sent, played, drawn and kept each has its own file.
 */

import { Clip } from "./clip.js";
import { byId, say } from "./elements.js";
import * as form from "./form.js";
import { askKey, withKey } from "./key.js";
import { Player } from "./player.js";
import { Reference } from "./reference.js";
import { Stage } from "./stage.js";
import { Takes } from "./takes.js";
import * as welcome from "./welcome.js";
import * as worker from "./worker.js";

/** @typedef {import("./takes.js").Take} Take */

const ENDINGS = /** @type {Record<string, string>} */ ({ pcm_s16le: "pcm", mulaw: "wav", alaw: "wav" });

const player = new Player();
const stage = new Stage(player);
const takes = new Takes(byId("history"), { play: (take) => replay(take), reuse, save: (take) => void save(take) });
const reference = new Reference((message) => {
  if (message) form.markOne({ field: "reference_audio", message });
  else form.unmarkOne("reference_audio");
});

/** The request that is under way. @type {AbortController | null} */ let underWay = null;

// --- speaking --------------------------------------------------------------------------------------------

async function speak() {
  stop("");
  complain("");
  form.unmark();
  const own = form.ownFaults();
  const clones = form.chosen("voice_mode") === "clone";
  if (clones && !reference.file)
    own.push({ field: "reference_audio", message: "is missing: choose a file or record one" });
  if (own.length) return void form.mark(own);
  player.unlock();
  const before = stage.take;
  const take = takes.begin(form.fields(), clones ? reference.file : null);
  const mine = new AbortController();
  underWay = mine;
  stage.isSpeaking = true;
  show(null);
  say("status", "Waiting for the first sound…");
  try {
    await withKey(() => receive(take, mine.signal));
    say("status", `Done: ${take.clip?.durationS.toFixed(1) ?? 0} s of sound${stalled()}.`);
  } catch (fault) {
    if (!mine.signal.aborted) tell(fault);
  } finally {
    if (underWay === mine) underWay = null;
    stage.isSpeaking = underWay !== null;
    end(take);
    if (!stage.take && !underWay) show(before); // nothing new to show
  }
}

/** @param {Take} take @param {AbortSignal} signal */
async function receive(take, signal) {
  const askedAt = performance.now();
  for await (const { name, data } of worker.speak(take.fields, take.reference, signal)) {
    if (name === "audio") hear(take, data, performance.now() - askedAt);
    if (name === "end") take.reply = data;
  }
}

/** @param {Take} take @param {{audio: string, sample_rate: number}} piece @param {number} afterMs */
function hear(take, piece, afterMs) {
  const isFirst = take.clip === null;
  const clip = (take.clip ??= new Clip(piece.sample_rate));
  clip.push(worker.bytesOf(piece.audio));
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

/** No more will come of it, for whatever reason. @param {Take} take */
function end(take) {
  take.over = true;
  take.clip?.finish();
  if (take.clip && player.clip === take.clip) player.fed();
  if (stage.take === take) show(take);
}

/** Cancel the request and be silent, at once. @param {string} words for the status */
function stop(words) {
  const wasBusy = underWay !== null || player.state !== "idle";
  underWay?.abort();
  underWay = null;
  stage.isSpeaking = false;
  player.stop();
  reference.stopRecording();
  if (wasBusy && words) say("status", words);
  stage.refresh();
}

const stalled = () =>
  player.stalls ? `; it ran out ${player.stalls === 1 ? "once" : `${player.stalls} times`} on the way` : "";

/** @param {unknown} fault */
function tell(fault) {
  if (!(fault instanceof worker.Refusal)) throw fault;
  say("status", stage.take?.over === false ? "Not spoken to the end." : "Not done.");
  const homeless = form.mark(fault.faults);
  const told = fault.faults.length
    ? homeless.map((one) => `${one.field} ${one.message}`.trim()).join("; ")
    : fault.message;
  complain(told);
}

/** On the stage, and as the current one of the list. @param {Take | null} take */
function show(take) {
  stage.show(take);
  takes.show(take);
}

/** @param {string} words "" for none */
function complain(words) {
  say("alert", words);
  byId("alert").hidden = !words;
}

// --- hearing again, keeping ------------------------------------------------------------------------------

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
  const clones = take.reference !== null;
  form.reset();
  form.put({ ...take.fields, seed });
  welcome.chooseVoiceMode(clones);
  if (clones) reference.use(/** @type {File} */ (take.reference));
  welcome.showValues();
  form.remember();
  byId("text").focus();
  say("status", `Text and settings of take ${take.number}, with its seed.`);
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
    const file = take.files.get(format) ?? (format === "wav" ? take.clip.toWav() : await spokenAgain(take, format));
    if (format !== "wav") take.files.set(format, file);
    give(file, `take-${take.number}.${ENDINGS[format] ?? format}`);
    say("status", `Take ${take.number} saved as ${format}.`);
  } catch (fault) {
    tell(fault);
  }
}

/**
 * The same sound in another format: the seed and the way of decoding decide it.
 * @param {Take} take @param {string} format
 */
function spokenAgain(take, format) {
  say("status", `Making take ${take.number} as ${format}…`);
  const same = { seed: take.reply.seed, decode_mode: take.reply.parameters.decode_mode };
  return withKey(() => worker.file({ ...take.fields, ...same, output_format: format }, take.reference));
}

/**
 * As plain bytes: of a type that it knows Firefox may change the name's ending (.opus to .ogx).
 * @param {Blob} file @param {string} name
 */
function give(file, name) {
  const bytes = new Blob([file], { type: "application/octet-stream" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(bytes), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may read it a while after the click
}

// --- hands -----------------------------------------------------------------------------------------------

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

/** @param {KeyboardEvent} event */
function onWaveKey(event) {
  const here = player.positionS;
  const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: stage.take?.clip?.durationS ?? 0 }[event.key];
  if (event.key === " ") togglePlay();
  else if (to !== undefined) seek(to);
  else return;
  event.preventDefault();
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (document.querySelector("dialog[open]")) return; // which has keys of its own
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
  welcome.showValues();
});
byId("stop").addEventListener("click", () => stop("Stopped."));
byId("play").addEventListener("click", togglePlay);
byId("download").addEventListener("click", () => stage.take && void save(stage.take));
byId("reset").addEventListener("click", () => {
  form.reset();
  form.remember();
  welcome.showValues();
});
byId("api").addEventListener("click", async (event) => {
  if (!worker.hasKey()) return; // else a link does; it can't carry a key
  event.preventDefault();
  give(await withKey(worker.description), "openapi.json");
});
byId("change-key").addEventListener("click", async () => {
  if (await askKey()) await welcome.meet(reference);
});
byId("wave").addEventListener("keydown", onWaveKey);
byId("wave").addEventListener("click", (event) => {
  seek(stage.secondsAt(event.offsetX));
  player.play();
});
document.addEventListener("keydown", onKey);
form.recall();
welcome.showValues();
void welcome.meet(reference);
