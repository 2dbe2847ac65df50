/**
 * The API key: asked for in a dialog when the worker wants one. It does not know what the key opens.
 */

import { Refusal, useKey } from "./worker.js";

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));
const field = /** @type {HTMLInputElement} */ (document.getElementById("key"));

/** @type {Promise<boolean> | null} */ let asking = null; // two requests may need it at once

/**
 * @param {string} [why] beside what always stands there
 * @returns {Promise<boolean>} whether one was given; it is in use then
 */
export function askKey(why = "") {
  asking ??= new Promise((resolve) => {
    field.value = "";
    /** @type {HTMLElement} */ (document.getElementById("key-refused")).textContent = why;
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
  return asking.finally(() => (asking = null));
}

/**
 * Do it, and once more with another key as long as the worker refuses the one in use.
 * @template T @param {() => Promise<T>} deed @returns {Promise<T>}
 */
export async function withKey(deed) {
  for (let why = ""; ; why = "The worker refused that key.") {
    try {
      return await deed();
    } catch (fault) {
      if (!(fault instanceof Refusal) || fault.status !== 401) throw fault;
      /** @type {HTMLElement} */ (document.getElementById("change-key")).hidden = false;
      if (!(await askKey(why))) throw fault;
    }
  }
}

document.getElementById("key-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(field.value.trim());
  field.value = "";
  dialog.close("given");
});
document.getElementById("key-cancel")?.addEventListener("click", () => dialog.close(""));
