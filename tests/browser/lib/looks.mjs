// What a test can see of the looks.

/** Texts whose contrast is below AA (4.5, or 3 for large ones). Runs in the page. */
export function faintTexts() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(style.color), light(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
}

/** Headings of closed panels that touch its edge, wrapped or not. Runs in the page. */
export function crampedPanels() {
  const cramped = [];
  for (const panel of document.querySelectorAll(".panel:not([open])")) {
    const box = panel.getBoundingClientRect();
    const texts = [...panel.querySelectorAll("summary > *")].map((text) => text.getBoundingClientRect());
    const room = Math.min(...texts.map((text) => Math.min(text.top - box.top, box.bottom - text.bottom)));
    if (room < 6) cramped.push(`${panel.querySelector("h3").textContent}: ${room.toFixed(1)} px`);
  }
  return cramped;
}
