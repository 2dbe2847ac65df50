/** The text of a take: the word that sounds is marked, and a click on a word is told with its time. */

import { byId } from "./elements.js";

/** @typedef {import("./takes.js").Take} Take */

// What is no word of the text, though it has letters: pauses, HTML's tags and a language model's reasoning.
const MARKS =
  /\[\s*pause[^\[\]]*\]|<(think(?:ing)?|thought|reasoning)>[^]*?<\/\1>|<\/?[a-z][\w.:-]*(?:\s[^<>=]*=[^<>]*|\s*\/)?>/gi;

export class Words {
  #box = byId("words");
  /** @type {Take | null} */ #take = null;
  /** One for each word that was heard of. @type {HTMLElement[]} */ #spans = [];
  #rest = document.createTextNode(""); // what follows the last of them
  #sounding = -1;

  /** @param {(seconds: number) => void} onClick */
  constructor(onClick) {
    this.#box.addEventListener("click", (event) => {
      const at = this.#spans.indexOf(/** @type {HTMLElement} */ (event.target));
      const word = this.#take?.words[at];
      if (word) onClick(word.start);
    });
  }

  /** @param {Take | null} take */
  show(take) {
    this.#take = take;
    this.#spans = [];
    this.#sounding = -1;
    this.#rest = document.createTextNode(String(take?.fields.text ?? ""));
    this.#box.replaceChildren(this.#rest);
    this.#box.hidden = !this.#rest.data;
  }

  /** @param {number} positionS in the clip */
  draw(positionS) {
    const words = this.#take?.words ?? [];
    for (const { text } of words.slice(this.#spans.length)) this.#append(text);
    const sounding = words.findLastIndex(({ start, end }) => start <= positionS && positionS < end);
    if (sounding === this.#sounding) return;
    this.#spans[this.#sounding]?.classList.remove("sounding");
    this.#sounding = sounding;
    const span = this.#spans[sounding];
    if (!span) return;
    span.classList.add("sounding");
    this.#box.scrollTop = span.offsetTop - (this.#box.clientHeight - span.offsetHeight) / 2;
  }

  /** Makes the next word of the text one that can be clicked. @param {string} text */
  #append(text) {
    const span = Object.assign(document.createElement("span"), { textContent: text });
    const at = placeOf(text, this.#rest.data);
    this.#spans.push(span);
    if (at < 0) return; // the text holds it in another form
    const [before, after] = [this.#rest.data.slice(0, at), this.#rest.data.slice(at + text.length)];
    this.#rest.before(before, span);
    this.#rest.data = after;
  }
}

/** Where a text holds a word, if it can be outside of marks. @param {string} word @param {string} text */
function placeOf(word, text) {
  const at = text.replace(MARKS, (mark) => " ".repeat(mark.length)).indexOf(word);
  return at < 0 ? text.indexOf(word) : at;
}
