/** The API key: asked for in a dialog when the worker wants one. */

import { byId } from "./elements.js";
import { Refusal, useKey } from "./worker.js";

const dialog = byId("key-dialog", HTMLDialogElement);
const field = byId("key", HTMLInputElement);

/** One dialog for all requests that wait for a key. @type {Promise<boolean> | null} */
let asking = null;

/**
 * @param {string} [why] shown in the dialog, beside its fixed text
 * @returns {Promise<boolean>} whether a key was given; requests use it from then on
 */
export function askKey(why = "") {
  asking ??= new Promise((resolve) => {
    field.value = "";
    byId("key-refused").textContent = why;
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
  return asking.finally(() => (asking = null));
}

/**
 * Runs the action, again with another key for as long as the worker refuses the key.
 * @template T @param {() => Promise<T>} action @returns {Promise<T>}
 */
export async function withKey(action) {
  for (let why = ""; ; why = "The worker refused that key.") {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) throw error;
      byId("change-key").hidden = false;
      if (!(await askKey(why))) throw error;
    }
  }
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(field.value.trim());
  field.value = "";
  dialog.close("given");
});
byId("key-cancel").addEventListener("click", () => dialog.close(""));
