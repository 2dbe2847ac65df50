/** The page's elements, found and checked, and text put into them. */

/**
 * The first element of a selector, checked to be of the class.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} [type]
 * @returns {T}
 */
export function find(root, selector, type = /** @type {any} */ (HTMLElement)) {
  const element = root.querySelector(selector);
  if (!(element instanceof type)) throw new TypeError(`the page has no ${type.name} ${selector}`);
  return element;
}

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id @param {new () => T} [type] @returns {T}
 */
export const byId = (id, type) => find(document, `#${id}`, type);

/** Writes only a new text: a screen reader reads a live region whenever it is written to.
 * @param {string} id @param {string} text */
export function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
