// The little that all views need of the document. Text only ever goes in as text.

import { groups, significant } from "./words.js";

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

/** A new element of a drawing. */
export function shape(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** A mark is in the document or it is not: a hidden one would still be found. */
export function mark(place, testid, text, more) {
  const found = handle(place, testid);
  if (!text) return found?.remove();
  if (found) return;
  const it = make("p", "", { class: `mark ${testid}`, "data-testid": testid });
  it.append(make("strong", text), more ? ` ${more}` : "");
  place.append(it);
}

/** Digits in groups for the eye; as text they stay the source's own. */
export function digits(element, price) {
  if (unchanged(element, price)) return;
  element.replaceChildren(...groups(price).map((part) => make("span", part)));
}

/** The same without the zeros that tell nothing, which the eye does not get: the text and the title have them. */
export function figure(element, price) {
  if (unchanged(element, price)) return;
  const [told, zeros] = significant(price);
  element.replaceChildren(...groups(told).map((part) => make("span", part)));
  if (zeros) element.append(make("span", zeros, { class: "zeros" }));
  if (zeros) element.title = price;
  else element.removeAttribute("title");
}

function unchanged(element, price) {
  if (element.textContent === price && element.dataset.words === undefined) return true;
  delete element.dataset.words;
  return false;
}

/** Calls `draw` a few times a second while somebody can see it, and at once when the page comes into view. */
export function whileVisible(draw, every) {
  setInterval(() => document.hidden || draw(), every);
  document.addEventListener("visibilitychange", () => document.hidden || draw());
}
