// Models to begin with, by the machine's memory. The list and its date are in suggestions.json.

import { element } from "../dom.js";
import { bytes } from "../status/format.js";

const GIB = 2 ** 30;
const HEADROOM = 1.1; // what a model needs while it is loaded, of its size on disk
const BUDGET = 0.75; // of a machine's memory, for weights
const NEARLY = 0.97; // a machine's memory is a little less than what it is sold as

export async function readSuggestions() {
  const response = await fetch("/static/models/suggestions.json").catch(() => null);
  return response?.ok ? response.json() : { updated: "", groups: [] };
}

/** The last group that a machine of so many bytes has the memory for; the first for less. */
export function groupFor(groups, memory) {
  const fitting = groups.filter((group) => group.memory_gib * GIB * NEARLY <= memory);
  return fitting.at(-1) ?? groups[0];
}

export const fits = (model, memory) => model.size * HEADROOM <= memory * BUDGET;

/** Whether a model of the list is the suggested one. */
export const isSame = (model, suggested) =>
  [model.repository, model.name].includes(suggested.model)
  || (suggested.name !== undefined && model.name === suggested.name);

export class Suggestions {
  /** `get(name)` begins a download. */
  constructor(holder, about, { updated, groups }, get) {
    this.about = about;
    this.updated = updated;
    this.get = get;
    this.rows = [];
    this.groups = groups.map((group) => this.group(group));
    holder.replaceChildren(...this.groups.map(({ element: one }) => one));
  }

  group(group) {
    const rows = group.models.map((model) => this.row(model));
    const title = element("summary", {}, `${group.memory_gib} GB of memory and up`);
    return { group, title, element: element("details", {}, title,
      element("ul", { class: "list" }, ...rows.map((row) => row.element))) };
  }

  row(model) {
    const button = element("button", { type: "button", class: "button small",
      "aria-label": `Download ${model.title}` }, "Download");
    button.addEventListener("click", () => this.get(model.model));
    const state = element("span", { class: "chip plain", hidden: true });
    const kinds = [model.sees && "Sees images", model.thinks && "Thinks", model.tools && "Tools"];
    const row = { model, button, state, element: element("li", { class: "model" },
      element("div", {},
        element("p", { class: "name" }, element("span", {}, model.title),
          ...kinds.filter(Boolean).map((text) => element("span", { class: "chip plain" }, text)),
          state),
        element("p", { class: "facts" },
          `${model.model} · about ${bytes(model.size)} · ${model.license} · ${model.about}`)),
      element("div", { class: "actions" }, button)) };
    this.rows.push(row);
    return row;
  }

  /** Show which are there. `memory` is the largest machine's, in bytes; 0 while none is known. */
  show(models, memory) {
    for (const { model, button, state } of this.rows) {
      const here = models.find((one) => isSame(one, model));
      const text = here?.downloaded ? "On this machine" : here?.downloading ? "Downloading"
        : memory && !fits(model, memory) ? "Needs more memory" : "";
      if (state.textContent !== text) state.textContent = text;
      state.hidden = text === "";
      state.className = text === "Needs more memory" ? "chip warning" : "chip plain";
      button.hidden = Boolean(here?.downloaded || here?.downloading);
    }
    if (memory && !this.opened) this.open(memory);
  }

  open(memory) {
    this.opened = groupFor(this.groups.map(({ group }) => group), memory);
    this.about.textContent = `For this machine's ${bytes(memory)} of memory. Sizes are those of `
      + `the download; check a model's licence before you use it. List of ${this.updated}.`;
    for (const { group, element: one } of this.groups) one.open = group === this.opened;
  }
}
