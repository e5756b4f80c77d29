// The little that both views need of the document. Text only ever goes in as text.

/** The element with this handle. */
export function handle(root, testid) {
  return root.querySelector(`[data-testid="${testid}"]`);
}

/** Sets an element's text where it differs: an equal one would disturb selections and readers. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A new element with text and attributes. */
export function make(name, text = "", attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Calls `draw` a few times a second while somebody can see it, and at once when the page comes into view. */
export function whileVisible(draw, every) {
  setInterval(() => document.hidden || draw(), every);
  document.addEventListener("visibilitychange", () => document.hidden || draw());
}
