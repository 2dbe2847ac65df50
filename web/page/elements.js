/**
 * The page's elements by their ids, and words put into them. It does not know what any of them is for.
 */

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
export const button = (id) => /** @type {HTMLButtonElement} */ (byId(id));
/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (byId(id));
/** @param {string} id */
export const select = (id) => /** @type {HTMLSelectElement} */ (byId(id));

/** Only where they differ: a live region is read out when it is written to. @param {string} id @param {string} words */
export function say(id, words) {
  if (byId(id).textContent !== words) byId(id).textContent = words;
}
