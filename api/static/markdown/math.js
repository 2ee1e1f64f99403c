// Mathematics in TeX as MathML, by Temml, which is loaded with the first formula. What it makes is
// checked before it is shown: MathML alone, without links or handlers.

import { element } from "../dom.js";

const LIBRARY = "/static/vendor/temml/temml.min.js";
const MATHML = "http://www.w3.org/1998/Math/MathML";
const LONGEST = 5000; // characters of a formula; a longer one is shown as it was written
const MOST_KEPT = 300; // formulas: a paragraph that grows is built again and again
const FORBIDDEN = /^(?:on|href|src|xlink|action)/i;
const kept = new Map();
let loading = null;
let library = null;

/** The element of a formula; until the library is there, and where it can't read it, its source. */
export function formula(source, display, written) {
  const holder = element("span", { class: display ? "math display" : "math" });
  if (!draw(holder, source, display)) {
    holder.textContent = written;
    if (library === null && source.length <= LONGEST) drawLater(holder, source, display);
  }
  return holder;
}

async function drawLater(holder, source, display) {
  loading ??= load();
  if (await loading && draw(holder, source, display))
    holder.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
}

/** Whether the library could be loaded. */
function load() {
  return new Promise((resolve) => {
    const script = element("script", { src: LIBRARY });
    script.addEventListener("load", () => {
      library = globalThis.temml ?? null;
      resolve(library !== null);
    });
    script.addEventListener("error", () => {
      loading = null; // the next formula tries again
      resolve(false);
    });
    document.head.append(script);
  });
}

function draw(holder, source, display) {
  const drawn = library && drawing(source, display);
  if (drawn) holder.replaceChildren(drawn.cloneNode(true));
  return Boolean(drawn);
}

/** The MathML of a formula, or null. */
function drawing(source, display) {
  if (source.length > LONGEST) return null;
  const key = `${display} ${source}`;
  if (kept.has(key)) return kept.get(key);
  const made = rendered(source, display);
  if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
  kept.set(key, made);
  return made;
}

function rendered(source, display) {
  const holder = document.createElement("span");
  try {
    library.render(source, holder, { displayMode: display, throwOnError: true, trust: false,
      maxExpand: 1000, maxSize: [50, 50], macros: {} });
  } catch {
    return null; // not TeX, or more than the library knows
  }
  const [root] = holder.children;
  return root && [root, ...root.querySelectorAll("*")].every(isHarmless) ? root : null;
}

const isHarmless = (node) => node.namespaceURI === MATHML &&
  node.getAttributeNames().every((name) => !FORBIDDEN.test(name));
