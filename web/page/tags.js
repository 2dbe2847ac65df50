/** Buttons that write one of the model's tags into the text, such as [laugh]. */

import { byId } from "./elements.js";

/** @param {string[]} tags with their brackets */
export function offerTags(tags) {
  byId("tags").hidden = !tags.length;
  byId("tags").replaceChildren(...tags.map(button));
}

/** @param {string} tag */
function button(tag) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: tag.slice(1, -1) });
  made.addEventListener("click", () => write(tag));
  return made;
}

/** At the cursor, apart from the words beside it. @param {string} tag */
function write(tag) {
  const text = byId("text", HTMLTextAreaElement);
  const before = /\S$/.test(text.value.slice(0, text.selectionStart)) ? " " : "";
  const after = /^\s/.test(text.value.slice(text.selectionEnd)) ? "" : " ";
  text.setRangeText(`${before}${tag}${after}`, text.selectionStart, text.selectionEnd, "end");
  text.focus();
  text.dispatchEvent(new Event("input", { bubbles: true })); // counted as what is typed
}
