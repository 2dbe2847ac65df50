/** The page's elements by id, and text put into them. */

/**
 * The element of this id, checked to be of the class.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [type]
 * @returns {T}
 */
export function byId(id, type = /** @type {any} */ (HTMLElement)) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new TypeError(`the page has no ${type.name} #${id}`);
  return element;
}

/** Writes only a new text: a screen reader reads a live region whenever it is written to.
 * @param {string} id @param {string} text */
export function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
