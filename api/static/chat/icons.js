// The page's icons: paths on a 24 by 24 grid.

const PATHS = {
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h10",
  image: "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1z" +
    "M4 16l5-5 4 4 2-2 5 5M15.5 8.5h.01",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4",
  up: "M12 19V6M6 11l6-6 6 6",
  down: "M12 5v13M6 13l6 6 6-6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM15 9V5H5v11h4",
  again: "M19 12a7 7 0 1 1-2-5M17 3v4h-4",
  onward: "M5 12h13M12 6l6 6-6 6",
  pencil: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
  trash: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  clip: "M19 11l-7.5 7.5a4.2 4.2 0 0 1-6-6L13.5 4.5a2.8 2.8 0 0 1 4 4" +
    "L9.5 16.5a1.4 1.4 0 0 1-2-2L15 7",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  back: "M14.5 6l-6 6 6 6",
  next: "M9.5 6l6 6-6 6",
  transfer: "M8 20V5M4 9l4-4 4 4M16 4v15M12 15l4 4 4-4",
  close: "M6 6l12 12M18 6L6 18",
};
const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  const attributes = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor",
    "stroke-width": "1.75", "stroke-linecap": "round", "stroke-linejoin": "round",
    "aria-hidden": "true" };
  for (const [key, value] of Object.entries(attributes)) drawing.setAttribute(key, value);
  line.setAttribute("d", PATHS[name]);
  drawing.append(line);
  return drawing;
}

/** Draw the icons that the page's HTML asks for. */
export function drawIcons(root = document) {
  for (const holder of root.querySelectorAll("[data-icon]"))
    holder.prepend(icon(holder.dataset.icon));
}
